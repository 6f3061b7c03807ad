// openid-client: discovery, registration, code with PKCE, refresh, revocation, a protected resource, as its documentation has them.
import { browse, load, obey } from "./lines.mjs";

const openid = await load("openid-client");
const options = { algorithm: "oauth2", timeout: 20, execute: [openid.allowInsecureRequests] };

let configuration, tokens;

function discover(url, client_id, client_secret) {
  const auth = client_secret ? openid.ClientSecretPost(client_secret) : openid.None();
  return openid.discovery(new URL(url), client_id, undefined, auth, options);
}

await obey({
  async link({ url, client_id, client_secret, redirect_uri }) {
    const metadata = { redirect_uris: [redirect_uri], token_endpoint_auth_method: "client_secret_post", client_name: "openid-client" };
    configuration = client_id
      ? await discover(url, client_id, client_secret)
      : await openid.dynamicClientRegistration(new URL(url), metadata, undefined, options);
    const pkceCodeVerifier = openid.randomPKCECodeVerifier();
    const expectedState = openid.randomState();
    const asked = openid.buildAuthorizationUrl(configuration, {
      redirect_uri,
      scope: "mcp:tools",
      state: expectedState,
      code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: "S256",
    });
    tokens = await openid.authorizationCodeGrant(configuration, await browse(asked), { pkceCodeVerifier, expectedState });
    return tokens;
  },
  async refresh({ token }) {
    tokens = await openid.refreshTokenGrant(configuration, token ?? tokens.refresh_token);
    return tokens;
  },
  async resource({ url, message }) {
    const headers = new Headers({ "Content-Type": "application/json", Accept: "application/json, text/event-stream" });
    const body = JSON.stringify(message);
    const response = await openid.fetchProtectedResource(configuration, tokens.access_token, new URL(url), "POST", body, headers);
    return response.json();
  },
  revoke: () => openid.tokenRevocation(configuration, tokens.refresh_token),
});
