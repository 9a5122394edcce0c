/** A small /dev/shm, mounted where only one process and its children see it: for tests of what happens when it is full. */

import { spawnSync } from "node:child_process";

/** How this user may mount: as root, or in a user namespace of his own; undefined: not at all. */
const namespaces = ["-m", "-rm"].find((flag) =>
  spawnSync("unshare", [flag, "mount", "-t", "tmpfs", "none", "/dev/shm"], { stdio: "ignore" }).status === 0
);

export const mayMount: boolean = namespaces !== undefined;

/** The command that runs `command` with a /dev/shm of its own; `options` are those of mounting it. */
export function inSmallShm(options: string, command: readonly string[]): string[] {
  const script = 'mount -t tmpfs -o "$0" none /dev/shm && exec "$@"';
  return ["unshare", namespaces!, "sh", "-c", script, options, ...command];
}

/** The command that runs `command` where there is no /dev/shm, and in /dev only what the runtimes need. */
export function withoutShm(command: readonly string[]): string[] {
  const script = `
    kept=$(mktemp -d) && mount --rbind /dev "$kept" && mount -t tmpfs none /dev
    for device in null zero random urandom; do touch /dev/$device && mount --bind "$kept/$device" /dev/$device; done
    umount -l "$kept" && rmdir "$kept" && exec "$@"`;
  return ["unshare", namespaces!, "sh", "-c", script, "sh", ...command];
}
