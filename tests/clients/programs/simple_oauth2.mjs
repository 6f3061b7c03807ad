// simple-oauth2: AuthorizationCode with PKCE in its parameters, refresh and revoke. It has no discovery, and calls no resource.
import { createHash, randomBytes } from "node:crypto";
import { browse, load, obey } from "./lines.mjs";

const { AuthorizationCode } = await load("simple-oauth2");

let library, token;

await obey({
  async link({ url, client_id, client_secret, redirect_uri }) {
    library = new AuthorizationCode({
      client: { id: client_id, secret: client_secret },
      auth: { tokenHost: url, tokenPath: "/oauth/token", authorizePath: "/oauth/authorize", revokePath: "/oauth/revoke" },
      options: { authorizationMethod: "body" },
    });
    const code_verifier = randomBytes(32).toString("base64url");
    const state = randomBytes(16).toString("base64url");
    const asked = library.authorizeURL({
      redirect_uri,
      scope: "mcp:tools",
      state,
      code_challenge: createHash("sha256").update(code_verifier).digest("base64url"),
      code_challenge_method: "S256",
    });
    const answer = (await browse(asked)).searchParams;
    if (answer.get("error")) throw new Error(answer.get("error"));
    if (answer.get("state") !== state) throw new Error("another state");
    token = await library.getToken({ code: answer.get("code"), redirect_uri, code_verifier });
    return token.token;
  },
  async refresh({ token: given }) {
    const from = given ? library.createToken({ ...token.token, refresh_token: given }) : token;
    token = await from.refresh();
    return token.token;
  },
  // By default it takes an empty body for a failure, unless that is declared to be JSON. RFC 7009 (2.2) has the body ignored.
  revoke: () => token.revoke("refresh_token", { json: true }),
});
