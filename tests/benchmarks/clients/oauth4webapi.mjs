// oauth4webapi (npm), for scale: a certified client of another language, its package's folder in OAUTH4WEBAPI.
// The same command line and the same line of JSON as the clients in Python; `validateAuthResponse`, then `authorizationCodeGrantRequest`
// and `processAuthorizationCodeResponse`, as its documentation has it.
const oauth = await import(`${process.env.OAUTH4WEBAPI}/build/index.js`);
const { client_id, client_secret, code, verifier, redirect_uri } = JSON.parse(process.env.PEER);

const REFUSALS = [
  oauth.AuthorizationResponseError,
  oauth.OperationProcessingError,
  oauth.ResponseBodyError,
  oauth.UnsupportedOperationError,
  oauth.WWWAuthenticateChallengeError,
  DOMException, // the signal's
];

// Node's fetch reports every failure of the network so.
const fetchFailed = (error) => error instanceof TypeError && ["fetch failed", "terminated"].includes(error.message);

async function callback(url, issuer, iss) {
  const server = { issuer, token_endpoint: url, authorization_response_iss_parameter_supported: iss !== "" };
  const client = { client_id };
  const parameters = new URLSearchParams({ code, state: "state", ...(iss && { iss }) });
  const response = await oauth.authorizationCodeGrantRequest(
    server,
    client,
    oauth.ClientSecretPost(client_secret),
    oauth.validateAuthResponse(server, client, parameters, "state"),
    redirect_uri,
    verifier,
    { [oauth.allowInsecureRequests]: true, signal: () => AbortSignal.timeout(3000) },
  );
  await oauth.processAuthorizationCodeResponse(server, client, response);
}

const [step, ...words] = process.argv.slice(2);
let outcome = ["accepted", ""];
try {
  await (step === "callback" ? callback(...words) : callback(words[0], "https://as.example", ""));
} catch (error) {
  const refused = fetchFailed(error) || REFUSALS.some((kind) => error instanceof kind);
  outcome = [refused ? "refused" : "crashed", error.name];
}
console.log(JSON.stringify(outcome));
process.exit();
