"use strict";
// Shows what the program asks, has the browser ask the passkey, and gives the program what comes back. It decides nothing.

const at = (id) => document.getElementById(id);

function bytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
}

function text(buffer) {
  let s = "";
  for (const b of new Uint8Array(buffer)) s += String.fromCharCode(b);
  return btoa(s).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

let current = null;

function show(ask) {
  current = ask;
  at("sign").disabled = at("decline").disabled = ask === null;
  if (ask === null) {
    at("title").textContent = "Done";
    at("status").textContent = "You can close this page.";
    return;
  }
  at("title").textContent = ask.title;
  const lines = ask.text.trimEnd().split("\n").map((line) => {
    const part = document.createElement("span");
    part.textContent = line + "\n";
    if (line.startsWith("| ")) part.className = "effect";
    return part;
  });
  at("text").replaceChildren(...lines);
}

async function tell(answer) {
  const response = await fetch("answer", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(answer) });
  const said = await response.json();
  if (said.error) throw new Error(said.error);
  show(said.ask);
}

async function use(ask) {
  if (ask.action === "create") {
    const made = await navigator.credentials.create({ publicKey: {
      challenge: bytes(ask.challenge), rp: { id: ask.rp, name: "Diamante gateway" },
      user: { id: crypto.getRandomValues(new Uint8Array(32)), name: ask.user, displayName: ask.user },
      pubKeyCredParams: [{ type: "public-key", alg: -7 }], attestation: "none",
      authenticatorSelection: { userVerification: "required", residentKey: "preferred" } } });
    return { credential: text(made.rawId), client_data: text(made.response.clientDataJSON), public: text(made.response.getPublicKey()) };
  }
  const got = await navigator.credentials.get({ publicKey: {
    challenge: bytes(ask.challenge), rpId: ask.rp, userVerification: "required",
    allowCredentials: [{ type: "public-key", id: bytes(ask.credential) }] } });
  return { credential: text(got.rawId), client_data: text(got.response.clientDataJSON),
    authenticator_data: text(got.response.authenticatorData), signature: text(got.response.signature) };
}

async function act(answer) {
  at("sign").disabled = at("decline").disabled = true;
  at("status").textContent = "";
  try {
    await tell(await answer());
  } catch (why) {
    at("status").textContent = String(why.message || why);
    if (why.name === "NotAllowedError" && current !== null) at("sign").disabled = at("decline").disabled = false;
  }
}

at("sign").addEventListener("click", () => act(() => use(current)));
at("decline").addEventListener("click", () => act(async () => ({ declined: true })));
fetch("ask").then((response) => response.json()).then((said) => show(said.ask));
