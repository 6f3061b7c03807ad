// The AI SDK's MCP client (@ai-sdk/mcp): createMCPClient with the transport "http".
import { load, obey } from "./lines.mjs";

const { createMCPClient } = await load("@ai-sdk/mcp");

let client, tools, version;

await obey({
  async connect({ url, headers }) {
    version = "";
    tools = undefined;
    // The client does not say which protocol version was agreed on: it is in the header of what it sends from then on.
    const watching = (input, init) => {
      version = new Headers(init?.headers).get("mcp-protocol-version") ?? version;
      return fetch(input, init);
    };
    client = await createMCPClient({ transport: { type: "http", url, headers, fetch: watching } });
    return { version };
  },
  list: async () => (await client.listTools()).tools.map((tool) => tool.name).sort(),
  async call({ name, arguments: given }) {
    tools ??= await client.tools();
    const tool = tools[name];
    if (tool === undefined) throw new Error(`Unknown tool: ${name}`);
    const result = await tool.execute(given, { toolCallId: "1", messages: [] });
    const text = result.content.map((block) => block.text ?? "").join("");
    return { is_error: Boolean(result.isError), text, structured: result.structuredContent ?? null };
  },
  close: () => client.close(),
});
