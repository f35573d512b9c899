// A conversation with the server that this page came from. It is kept in the browser alone.
import { render } from "./markdown.js";

const kiosk = new URLSearchParams(location.search).has("kiosk");
/** Minutes after which a kiosk forgets the last visitor. */
const IDLE_MINUTES = 3;
const at = (id) => document.getElementById(id);
const [talk, form, text, state] = [at("talk"), at("ask"), at("text"), at("state")];
document.documentElement.classList.toggle("kiosk", kiosk);

let turns = load();
let running = null;
let idle = 0;

function load() {
  if (kiosk) return [];
  try {
    const kept = JSON.parse(localStorage.getItem("talk") ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

function keep() {
  if (!kiosk) {
    try { localStorage.setItem("talk", JSON.stringify(turns)); } catch { /* no room: the page goes on without it */ }
  }
}

function show(turn, article = talk.appendChild(document.createElement("article"))) {
  article.className = turn.role;
  article.replaceChildren();
  if (turn.thought) {
    const details = article.appendChild(document.createElement("details"));
    details.appendChild(document.createElement("summary")).textContent = "Thought";
    details.append(turn.thought);
  }
  if (turn.role === "assistant") article.append(render(turn.content));
  else article.append(turn.content);
  talk.scrollTop = talk.scrollHeight;
  return article;
}

function showAll() {
  talk.replaceChildren();
  turns.forEach((turn) => show(turn));
  at("retry").hidden = !turns.length || running !== null;
}

function busy(is) {
  at("send").hidden = is;
  at("stop").hidden = !is;
  at("retry").hidden = is || !turns.length;
}

const headers = () => {
  const key = sessionStorage.getItem("key");
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
};

async function fail(response) {
  if (response.status === 401) {
    const key = prompt("This server asks for a key:");
    if (key) sessionStorage.setItem("key", key);
  }
  let reason = `the server said ${response.status}`;
  try { reason = (await response.json()).error.message; } catch { /* it said nothing more */ }
  throw new Error(reason);
}

async function answer() {
  running = new AbortController();
  busy(true);
  const turn = { role: "assistant", content: "", thought: "" };
  const article = show(turn);
  const messages = turns.map(({ role, content }) => ({ role, content }));
  let [tokens, first] = [0, 0];
  state.textContent = "…";
  try {
    const body = JSON.stringify({ messages, stream: true, return_progress: true });
    const response = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body, signal: running.signal });
    if (!response.ok) await fail(response);
    for await (const chunk of events(response.body)) {
      if (chunk.error) throw new Error(chunk.error.message);
      const progress = chunk.prompt_progress;
      if (progress) state.textContent = `reading ${progress.processed} of ${progress.total} tokens`;
      const delta = chunk.choices?.[0]?.delta ?? {};
      turn.content += delta.content ?? "";
      turn.thought += delta.reasoning_content ?? "";
      if (delta.content || delta.reasoning_content) {
        first ||= performance.now();
        tokens++;
        const seconds = (performance.now() - first) / 1000;
        if (seconds > 0) state.textContent = `${(tokens / seconds).toFixed(1)} tokens/s`;
        show(turn, article);
      }
      if (chunk.timings) state.textContent = `${chunk.timings.predicted_per_second.toFixed(1)} tokens/s`;
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      state.textContent = "";
      const said = talk.appendChild(document.createElement("article"));
      said.className = "error";
      said.setAttribute("role", "alert");
      said.textContent = error.message;
    }
  }
  if (turn.content || turn.thought) turns.push(turn);
  else article.remove();
  running = null;
  keep();
  busy(false);
  text.focus();
}

/** The objects of a stream of events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

function send() {
  const content = text.value.trim();
  if (!content || running) return;
  text.value = "";
  turns.push({ role: "user", content });
  show(turns.at(-1));
  keep();
  answer();
}

function clear() {
  running?.abort();
  turns = [];
  keep();
  showAll();
  state.textContent = "";
  text.focus();
}

form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
  if (event.key === "Escape") running?.abort();
});
at("stop").addEventListener("click", () => running?.abort());
at("clear").addEventListener("click", clear);
at("retry").addEventListener("click", () => {
  if (running || !turns.length) return;
  if (turns.at(-1).role === "assistant") turns.pop();
  showAll();
  answer();
});
if (kiosk) {
  const reset = () => { clearTimeout(idle); idle = setTimeout(() => { if (turns.length) clear(); reset(); }, IDLE_MINUTES * 60_000); };
  for (const kind of ["keydown", "pointerdown", "input"]) addEventListener(kind, reset);
  reset();
}
showAll();
fetch("v1/models", { headers: headers() })
  .then((response) => response.ok ? response.json() : null)
  .then((list) => { at("model").textContent = list?.data?.[0]?.id ?? ""; })
  .catch(() => { /* the first question says what is wrong */ });
