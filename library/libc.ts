/**
 * A few functions of the C library: what it takes to put a library where the dynamic loader finds it, with no permission
 * and no module but FFI.
 */

import type { Signatures } from "../core/native.ts";

/** Functions that were looked up. */
export type Functions = Readonly<Record<string, (...args: (number | Uint8Array)[]) => number | bigint>>;

// None of these is variadic as it is called here: macOS on arm64 passes variadic arguments in another way.
const toLook: Signatures = {
  open: { args: ["buffer", "i32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  read: { args: ["i32", "buffer", "usize"], returns: "i64" },
  lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
};
const toWrite: Signatures = {
  close: { args: ["i32"], returns: "i32" },
  write: { args: ["i32", "buffer", "usize"], returns: "i64" },
  readlink: { args: ["buffer", "buffer", "usize"], returns: "i64" },
  mkstemp: { args: ["buffer"], returns: "i32" },
  unlink: { args: ["buffer"], returns: "i32" },
};
const toWriteOnLinux: Signatures = { memfd_create: { args: ["buffer", "u32"], returns: "i32" } };

const O_RDONLY = 0;
const MFD_CLOEXEC = 1;
const SEEK_END = 2;

/** Files by way of the C library. Nothing throws; what fails says so by its result. */
export class Libc {
  readonly #functions: (signatures: Signatures) => Functions;
  readonly #isLinux: boolean;
  readonly #look: Functions;
  #write: Functions = {};

  /** `functions` looks functions up in a library of that name. */
  constructor(platform: string, functions: (library: string, signatures: Signatures) => Functions) {
    this.#isLinux = platform.startsWith("linux");
    // musl, too, answers to the name of glibc.
    const name = this.#isLinux ? "libc.so.6" : "/usr/lib/libSystem.B.dylib";
    this.#functions = (signatures) => functions(name, signatures);
    this.#look = this.#functions(toLook);
  }

  /** Looks up what the other methods need but `look`: most programs have the library in a file, and need none of them. */
  openForWriting(): void {
    this.#write = this.#functions(this.#isLinux ? { ...toWrite, ...toWriteOnLinux } : toWrite);
  }

  /** The size of a file and its first bytes; undefined if it cannot be opened. */
  look(path: string): { bytes: number; start: Uint8Array } | undefined {
    const fd = Number(this.#look["open"]!(cString(path), O_RDONLY));
    if (fd < 0) return undefined;
    const start = new Uint8Array(64);
    const got = Number(this.#look["read"]!(fd, start, start.length));
    const bytes = Number(this.#look["lseek"]!(fd, 0, SEEK_END));
    this.#look["close"]!(fd);
    return { bytes, start: start.subarray(0, Math.max(got, 0)) };
  }

  /** What a symbolic link says; undefined if it is none. */
  readLink(path: string): string | undefined {
    const into = new Uint8Array(256);
    const length = Number(this.#write["readlink"]!(cString(path), into, into.length));
    return length < 0 ? undefined : new TextDecoder().decode(into.subarray(0, length));
  }

  /** Puts `content` into a file in memory. Returns its descriptor; undefined where the system has none. */
  writeInMemory(name: string, content: Uint8Array): number | undefined {
    const fd = Number(this.#write["memfd_create"]?.(cString(name), MFD_CLOEXEC) ?? -1);
    if (fd < 0) return undefined;
    if (this.#writeAll(fd, content)) return fd;
    this.#write["close"]!(fd);
    return undefined;
  }

  /** Puts `content` into a new file in `folder`, which only this user can open. Returns its path; undefined if it cannot. */
  writeInFolder(folder: string, content: Uint8Array): string | undefined {
    const path = cString(`${folder}/arraypool-XXXXXX`);
    const fd = Number(this.#write["mkstemp"]!(path)); // writes the name over the X
    if (fd < 0) return undefined;
    const name = new TextDecoder().decode(path.subarray(0, -1));
    const written = this.#writeAll(fd, content);
    this.#write["close"]!(fd);
    if (written) return name;
    this.unlink(name);
    return undefined;
  }

  /** Removes a file. */
  unlink(path: string): void {
    this.#write["unlink"]!(cString(path));
  }

  #writeAll(fd: number, content: Uint8Array): boolean {
    for (let done = 0; done < content.length;) {
      const wrote = Number(this.#write["write"]!(fd, content.subarray(done), content.length - done));
      if (!(wrote > 0)) return false;
      done += wrote;
    }
    return true;
  }
}

function cString(text: string): Uint8Array {
  return new TextEncoder().encode(text + "\0");
}
