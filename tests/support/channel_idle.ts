/** A child of the tests of channels: has one, and waits for a message of it, or does not. */

import { type Channel, unpack } from "arraypool";

const { channel } = unpack<{ channel: Channel<number> }>(JSON.parse(process.argv[2]!));
const mode = process.argv[3]!;
console.log(JSON.stringify({ mode }));
if (mode === "waiting") console.log(JSON.stringify({ got: await channel.receiveAsync() }));
