// The connections of a person, from the JSON of ontraport_connect, without a framework.
const place = document.getElementById("connections");
const {accounts: base, connect} = place.dataset;
const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
let madeFor = "";

// What people read for the codes of errors that come without a message.
const words = {
  login_required: "You're signed out. Reload this page to sign in.",
  not_found: "This connection isn't there any more. Reload this page.",
  not_permitted: "You don't have permission to do that.",
  tenant_switched: "You've switched workspaces. Reload this page.",
};

async function call(url, body) {
  const options = body
    ? {method: "POST", headers: {"Content-Type": "application/json", "X-CSRFToken": token}, body: JSON.stringify({...body, made_for: madeFor})}
    : {headers: {Accept: "application/json"}};
  const response = await fetch(url, options);
  const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
  const answer = isJson ? await response.json() : {error: `status ${response.status}`};
  if (!response.ok) throw new Error(answer.message || Object.values(answer.fields || {}).flat().join(" ") || words[answer.error] || "That didn't work. Please try again.");
  return answer;
}

function button(text, action, look = "quiet") {
  const element = document.createElement("button");
  element.type = "button";
  element.className = look;
  element.textContent = text;
  element.addEventListener("click", () => attempt(action));
  return element;
}

async function attempt(action) {
  const said = document.getElementById("said");
  said.textContent = "";
  try {
    await action();
  } catch (error) {
    said.textContent = error.message;
  }
}

async function leave(url) {
  location.assign((await call(url, {next: location.pathname})).url);
}

function row(account, may) {
  const item = document.createElement("li");
  const name = document.createElement("strong");
  name.textContent = account.name;
  const state = document.createElement("span");
  state.className = `state ${account.state}`;
  state.textContent = account.state_title;
  item.append(name, " ", state);
  if (may.link && account.method === "oauth") item.append(button(`Reconnect ${account.name}`, () => leave(`${base}${account.uid}/reconnect/`)));
  if (may.link) {
    const field = document.createElement("input");
    field.value = account.label;
    field.setAttribute("aria-label", `Name of ${account.name}`);
    const rename = async () => {
      await call(`${base}${account.uid}/rename/`, {label: field.value});
      await show();
    };
    item.append(field, button("Rename", rename));
  }
  const disconnect = async () => {
    await call(`${base}${account.uid}/disconnect/`, {});
    await show();
  };
  if (may.disconnect) item.append(button(`Disconnect ${account.name}`, disconnect));
  return item;
}

async function show() {
  const found = await call(base);
  madeFor = found.made_for;
  const list = document.createElement("ul");
  list.append(...found.accounts.map((account) => row(account, found.may)));
  place.replaceChildren(list);
  if (found.may.link) place.append(button("Connect an account", () => leave(connect), "primary"));
}

attempt(show);
