/** Everything that is public, once. */

export { attach } from "./attach.ts";
export type {
  Channel,
  ChannelOptions,
  ChannelStats,
  Delivery,
  ReceiveAsyncOptions,
  ReceiveOptions,
  SendAsyncOptions,
  SendOptions,
} from "./channel.ts";
export type { ChannelDescriptor, Descriptor, ShareOptions } from "./descriptor.ts";
export type { DType, TypedArray, TypedArrayClass, TypedArrays } from "./dtype.ts";
export { PoolError, type PoolErrorCode } from "./errors.ts";
export { pack, type Packed, release, unpack, type Unpacked } from "./pack.ts";
export { type BlockInfo, type MemberInfo, Pool, type PoolOptions, type PoolStats } from "./pool.ts";
export { isSharedArray, type SharedArray, type SharedView } from "./shared_array.ts";
export type { Shape } from "./shape.ts";
export type { WaitAsyncOptions } from "./wait_async.ts";
export type { WaitOptions, WaitResult } from "./wait.ts";
