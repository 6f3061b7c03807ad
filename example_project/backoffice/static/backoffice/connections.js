// The connections of a person, from the JSON of ontraport_connect, without a framework.
const place = document.getElementById("connections");
const {accounts: base, connect} = place.dataset;
const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
let madeFor = "";

async function call(url, body) {
  const options = body
    ? {method: "POST", headers: {"Content-Type": "application/json", "X-CSRFToken": token}, body: JSON.stringify({...body, made_for: madeFor})}
    : {headers: {Accept: "application/json"}};
  const response = await fetch(url, options);
  const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
  const answer = isJson ? await response.json() : {error: `status ${response.status}`};
  if (!response.ok) throw new Error(answer.message || Object.values(answer.fields || {}).flat().join(" ") || answer.error);
  return answer;
}

function button(text, action) {
  const element = document.createElement("button");
  element.type = "button";
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
  item.append(name, ` ${account.state_title} `);
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
  if (found.may.link) place.append(button("Connect an account", () => leave(connect)));
}

attempt(show);
