export const apart: readonly string[];
export function run(
  command: readonly string[],
  write: (text: string) => void,
  env?: Record<string, string | undefined>,
  limitMs?: number,
): Promise<{ code: number | string | null; ranOut: boolean; output: string; left: string[] }>;
export function endAll(): void;
export function lastLine(output: string): string;
