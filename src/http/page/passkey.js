// Passkeys on the hosted pages: what HTML alone cannot ask for.

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");

async function api(path, body) {
  const init = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const reply = await fetch(`/api/auth/passkey/${path}`, init);
  const json = await reply.json().catch(() => ({}));
  if (!reply.ok) throw Object.assign(new Error(json.message || `Status ${reply.status}`), { code: json.code, status: reply.status });
  return json;
}

// What the protocol and the browser call a problem, in sentences that help.
const SENTENCES = {
  SESSION_NOT_FRESH: "You signed in too long ago to change this. Please sign in again, and then come back.",
  UNAUTHORIZED: "You are signed out. Please sign in again.",
  PREVIOUSLY_REGISTERED: "This passkey belongs to an account already.",
  CHALLENGE_NOT_FOUND: "That took too long. Please try again.",
  PASSKEY_NOT_FOUND: "This passkey is not known here. It may have been removed. Please sign in another way.",
  BANNED_USER: "This account is switched off. Please ask an administrator.",
  ADDRESS_NOT_ALLOWED: "Your organization lets nobody in from the network that you are in.",
  InvalidStateError: "This device has a passkey of your account already.",
  SecurityError: "Passkeys do not work at this address.",
  NotSupportedError: "This device cannot make a passkey of a kind that is accepted here.",
};
const SIGN_IN_AGAIN = ["SESSION_NOT_FRESH", "UNAUTHORIZED"];

function sentence(problem) {
  if (problem.status === 429) return "There were too many tries. Please try again later.";
  return SENTENCES[problem.code] ?? SENTENCES[problem.name] ?? "That did not work. Please try again.";
}

const descriptors = (list = []) => list.map((one) => ({ ...one, id: bytes(one.id) }));

// `PublicKeyCredential.toJSON`, which not every browser has.
const answer = (credential, response) => ({
  id: credential.id,
  rawId: text(credential.rawId),
  type: credential.type,
  clientExtensionResults: credential.getClientExtensionResults(),
  response,
});

async function register(name) {
  const options = await api("generate-register-options");
  const credential = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: descriptors(options.excludeCredentials),
    },
  });
  const { attestationObject, clientDataJSON } = credential.response;
  await api("verify-registration", {
    name,
    response: answer(credential, {
      attestationObject: text(attestationObject),
      clientDataJSON: text(clientDataJSON),
      transports: credential.response.getTransports?.() ?? [],
    }),
  });
}

let waiting;

async function signIn(mediation) {
  const options = await api("generate-authenticate-options");
  waiting?.abort();
  waiting = new AbortController();
  const credential = await navigator.credentials.get({
    mediation,
    signal: waiting.signal,
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: descriptors(options.allowCredentials),
    },
  });
  const { authenticatorData, clientDataJSON, signature, userHandle } = credential.response;
  return api("verify-authentication", {
    response: answer(credential, {
      authenticatorData: text(authenticatorData),
      clientDataJSON: text(clientDataJSON),
      signature: text(signature),
      userHandle: userHandle ? text(userHandle) : undefined,
    }),
  });
}

function tell(problem) {
  // Whoever closes the browser's own dialogue knows that they did.
  if (problem.name === "NotAllowedError" || problem.name === "AbortError") return;
  const place = document.querySelector("[data-problem]");
  place.textContent = sentence(problem);
  if (SIGN_IN_AGAIN.includes(problem.code)) {
    const link = document.createElement("a");
    link.href = `/login?again=true&continue=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = "Sign in again";
    place.append(" ", link);
  }
  place.hidden = false;
}

function go(answer, target) {
  location.assign(answer.twoFactorRedirect ? `/second-factor?continue=${encodeURIComponent(target)}` : target);
}

if (window.PublicKeyCredential) {
  for (const place of document.querySelectorAll("[data-passkey]")) place.hidden = false;
  const button = document.querySelector("button[data-sign-in]");
  if (button) {
    const target = button.dataset.signIn;
    button.addEventListener("click", () => signIn().then((answer) => go(answer, target), tell));
    // The browser offers passkeys where it offers passwords, and nobody has to ask.
    PublicKeyCredential.isConditionalMediationAvailable?.()
      .then((available) => available && signIn("conditional").then((answer) => go(answer, target)))
      .catch(tell);
  }
  const form = document.querySelector("form[data-register]");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const { next } = form.dataset;
    register(form.elements.name.value || undefined).then(() => (next ? location.assign(next) : location.reload()), tell);
  });
}
