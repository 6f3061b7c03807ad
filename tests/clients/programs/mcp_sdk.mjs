// The official MCP SDK for TypeScript (@modelcontextprotocol/sdk): Client on StreamableHTTPClientTransport.
import { browse, load, obey } from "./lines.mjs";

const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");

let client, transport;

// An OAuthClientProvider that keeps everything in memory.
function provider(redirectUri) {
  const kept = { callback: null };
  return {
    kept,
    redirectUrl: redirectUri,
    clientMetadata: { client_name: "MCP SDK", redirect_uris: [redirectUri], scope: "mcp:tools", token_endpoint_auth_method: "none" },
    state: () => (kept.state = crypto.randomUUID()),
    clientInformation: () => kept.client,
    saveClientInformation: (information) => { kept.client = information; },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens; },
    invalidateCredentials: () => { kept.tokens = undefined; },
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    codeVerifier: () => kept.verifier,
    redirectToAuthorization: async (url) => { kept.callback = await browse(url); },
  };
}

async function open(url, headers, authProvider) {
  transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers }, authProvider });
  client = new Client({ name: "a public client", version: "1" });
  await client.connect(transport, { timeout: 20_000 });
}

await obey({
  async connect({ url, headers, redirect_uri }) {
    const authProvider = redirect_uri ? provider(redirect_uri) : undefined;
    try {
      await open(url, headers, authProvider);
    } catch (error) {
      if (!authProvider?.kept.callback) throw error;
      const answer = authProvider.kept.callback.searchParams;
      if (answer.get("state") !== authProvider.kept.state) throw new Error("another state");
      await transport.finishAuth(answer.get("code"));
      await open(url, headers, authProvider);
    }
    return { version: transport.protocolVersion };
  },
  list: async () => (await client.listTools()).tools.map((tool) => tool.name).sort(),
  async call({ name, arguments: given }) {
    const result = await client.callTool({ name, arguments: given }, undefined, { timeout: 20_000 });
    const text = result.content.map((block) => block.text ?? "").join("");
    return { is_error: Boolean(result.isError), text, structured: result.structuredContent ?? null };
  },
  async close() {
    await transport.terminateSession();
    await client.close();
  },
});
