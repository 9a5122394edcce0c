"""The child of python.ts: a line of JSON for each matrix comes in, one with an array of its row sums goes out."""

import json
import sys

from arraypool import Library

library = Library(sys.argv[1])
for line in sys.stdin:
    with library.attach(json.loads(line)["matrix"]) as matrix:
        rows, columns = matrix.shape
        with matrix.pool.alloc("float64", [rows]) as sums:
            for row in range(rows):
                sums.view[row] = sum(matrix.view[row * columns:(row + 1) * columns])
            for i in range(len(matrix.view)):
                matrix.view[i] = -matrix.view[i]  # JavaScript sees it
            print(json.dumps({"sums": sums.share()}), flush=True)
library.close()
