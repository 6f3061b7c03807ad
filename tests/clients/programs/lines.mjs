// What the programs in JavaScript share: the same lines as those in Python (lines.py). Packages are taken from the folder in NODE_CLIENTS.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.NODE_CLIENTS}/package.json`);

export async function load(name) {
  const module = await import(pathToFileURL(require.resolve(name)));
  return { ...module, ...module.default };
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const read = async () => (await lines.next()).value;
const write = (message) => console.log(JSON.stringify(message));

export async function browse(url) {
  write({ browse: String(url) });
  return new URL(JSON.parse(await read()).callback);
}

const words = (error) => {
  const challenges = Array.isArray(error.cause) ? JSON.stringify(error.cause) : undefined;
  const cause = challenges ?? error.cause?.message ?? error.cause?.error ?? error.data?.payload?.error ?? "";
  return `${error.name}: ${error.message} ${cause} ${error.error ?? ""}`.trim();
};

export async function obey(orders) {
  for (let line = await read(); line !== undefined; line = await read()) {
    const order = JSON.parse(line);
    try {
      write({ ok: (await orders[order.do](order.with)) ?? null });
    } catch (error) {
      write({ error: words(error) });
    }
  }
  process.exit();
}
