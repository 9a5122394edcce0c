"""Pool arrays in Python, by the C interface (libpool/arraypool.h; in the npm package include/arraypool.h).

What JavaScript sends is a descriptor, plain JSON. Its fields are the arguments of two calls: `pool` and `nonce` of
ap_pool_open, `block`, `generation` and `claim` of ap_block_attach; `offset`, `length` and `dtype` say which part it is.
"""

import ctypes
import math

# By dtype: its code (AP_INT8 and so on), and its letter in memoryview and array.
DTYPES = {
    "int8": (1, "b"), "uint8": (2, "B"), "uint8clamped": (3, "B"), "int16": (4, "h"), "uint16": (5, "H"),
    "int32": (6, "i"), "uint32": (7, "I"), "float32": (9, "f"), "float64": (10, "d"), "int64": (11, "q"), "uint64": (12, "Q"),
}
GENERATION, ADDRESS, CLAIM = 0, 2, 5  # AP_RECORD_*
ZEROED = 1
ABI_VERSION = 5


class Library:
    """libarraypool. One for each thread."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        pool, whole, number, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_double, ctypes.c_char_p
        numbers = ctypes.POINTER(number)
        for name, result, *arguments in [
            ("ap_abi_version", whole),
            ("ap_pool_open", pool, text, text, whole, numbers),
            ("ap_pool_record", numbers, pool),
            ("ap_pool_close", ctypes.c_int32, pool, whole),
            ("ap_block_alloc", ctypes.c_int32, pool, number, whole, whole),
            ("ap_block_attach", ctypes.c_int32, pool, whole, number, number),
            ("ap_block_release", ctypes.c_int32, pool, whole, whole),
            ("ap_claim_create", ctypes.c_int32, pool, whole, whole, number),
            ("ap_claim_drop", ctypes.c_int32, pool, whole, number, number, whole),
        ]:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        if library.ap_abi_version() != ABI_VERSION:
            raise RuntimeError("this file is for another version of arraypool")
        self.calls = library
        self.pools = {}

    def attach(self, descriptor):
        """The array that a descriptor names. Use it in a `with`, or call its release()."""
        if descriptor["dtype"] not in DTYPES:  # float16, or of a later version; before it is held
            raise TypeError(f"no memoryview shows {descriptor['dtype']}")
        pool = self._join(descriptor["pool"], descriptor["nonce"])
        block, generation, claim = descriptor["block"], descriptor["generation"], descriptor["claim"]
        held_before = check("ap_block_attach", self.calls.ap_block_attach(pool.member, block, generation, claim))
        address = int(pool.record[ADDRESS]) + descriptor["offset"]
        used = pool.used.setdefault(block, set())
        if held_before and claim not in used:  # then it has used up none, and this message has arrived all the same
            self.calls.ap_claim_drop(pool.member, block, generation, claim, 1)  # or it expires
        used.add(claim)
        shape = descriptor.get("shape", [descriptor["length"]])
        return Array(pool, block, address, descriptor["dtype"], shape, descriptor["offset"])

    def close(self):
        for pool in self.pools.values():
            self.calls.ap_pool_close(pool.member, 0)
        self.pools.clear()

    def _join(self, name, nonce):
        if (name, nonce) not in self.pools:
            report = (ctypes.c_double * 8)()
            member = self.calls.ap_pool_open(name.encode(), nonce.encode(), 0, report)
            if not member:
                raise RuntimeError(f"ap_pool_open: error {int(report[0])}, errno {int(report[1])}")
            self.pools[name, nonce] = Pool(self.calls, member, name, nonce)
        return self.pools[name, nonce]


class Pool:
    def __init__(self, calls, member, name, nonce):
        self.calls, self.member, self.name, self.nonce = calls, member, name, nonce
        self.record = calls.ap_pool_record(member)
        self.used = {}  # by block, the claims of what it is held by

    def alloc(self, dtype, shape):
        """An array of zeros."""
        code, letter = DTYPES[dtype]
        length_bytes = math.prod(shape) * memoryview(bytearray(8)).cast(letter).itemsize
        block = check("ap_block_alloc", self.calls.ap_block_alloc(self.member, length_bytes, code, ZEROED))
        return Array(self, block, int(self.record[ADDRESS]), dtype, shape, 0)


class Array:
    """`view` is its memory: a memoryview, of which numpy.asarray() makes an array without a copy."""

    def __init__(self, pool, block, address, dtype, shape, offset):
        self.pool, self.block, self.dtype, self.shape, self.offset = pool, block, dtype, list(shape), offset
        letter = DTYPES[dtype][1]
        item_bytes = memoryview(bytearray(8)).cast(letter).itemsize
        memory = (ctypes.c_char * (math.prod(shape) * item_bytes)).from_address(address)
        self.view = memoryview(memory).cast("B").cast(letter)

    def share(self):
        """A descriptor for one receiver, as pack() makes it."""
        pool = self.pool
        check("ap_claim_create", pool.calls.ap_claim_create(pool.member, self.block, 1, 0))
        return {
            "$arraypool": 1, "pool": pool.name, "nonce": pool.nonce, "block": self.block,
            "generation": int(pool.record[GENERATION]), "claim": int(pool.record[CLAIM]), "dtype": self.dtype,
            "offset": self.offset, "length": math.prod(self.shape), "shape": self.shape,
        }

    def release(self):
        """Lets go. What still looks at `view` after that may see another array: nothing detaches it, as in JavaScript."""
        if self.view is not None:
            # Where the pool is busy nothing has happened, and it can be tried again.
            if check("ap_block_release", self.pool.calls.ap_block_release(self.pool.member, self.block, 1)) == 0:
                self.pool.used.pop(self.block, None)
            self.view = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


def check(call, result):
    if result < 0:
        raise RuntimeError(f"{call}: error {result}")  # AP_ERR_*
    return result
