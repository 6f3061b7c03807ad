// oauth4webapi: discovery, registration, code with PKCE, refresh, revocation, a protected resource, as its documentation has them.
import { browse, load, obey } from "./lines.mjs";

const oauth = await load("oauth4webapi");
const insecure = { [oauth.allowInsecureRequests]: true, signal: () => AbortSignal.timeout(20_000) };

let server, client, auth, tokens;

async function register(redirect_uri) {
  const metadata = { redirect_uris: [redirect_uri], token_endpoint_auth_method: "client_secret_post", client_name: "oauth4webapi" };
  const response = await oauth.dynamicClientRegistrationRequest(server, metadata, insecure);
  return oauth.processDynamicClientRegistrationResponse(response);
}

await obey({
  async link({ url, client_id, client_secret, redirect_uri }) {
    const issuer = new URL(url);
    server = await oauth.processDiscoveryResponse(
      issuer,
      await oauth.discoveryRequest(issuer, { ...insecure, algorithm: "oauth2" }),
    );
    client = client_id ? { client_id, client_secret } : await register(redirect_uri);
    auth = client.client_secret ? oauth.ClientSecretPost(client.client_secret) : oauth.None();
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const asked = new URL(server.authorization_endpoint);
    asked.search = new URLSearchParams({
      response_type: "code",
      client_id: client.client_id,
      redirect_uri,
      scope: "mcp:tools",
      state,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
    });
    const parameters = oauth.validateAuthResponse(server, client, await browse(asked), state);
    const response = await oauth.authorizationCodeGrantRequest(server, client, auth, parameters, redirect_uri, verifier, insecure);
    tokens = await oauth.processAuthorizationCodeResponse(server, client, response);
    return tokens;
  },
  async refresh({ token }) {
    const response = await oauth.refreshTokenGrantRequest(server, client, auth, token ?? tokens.refresh_token, insecure);
    tokens = await oauth.processRefreshTokenResponse(server, client, response);
    return tokens;
  },
  async resource({ url, message }) {
    const headers = new Headers({ "Content-Type": "application/json", Accept: "application/json, text/event-stream" });
    const options = { ...insecure };
    const response = await oauth.protectedResourceRequest(tokens.access_token, "POST", new URL(url), headers, JSON.stringify(message), options);
    return response.json();
  },
  async revoke() {
    await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, auth, tokens.refresh_token, insecure));
  },
});
