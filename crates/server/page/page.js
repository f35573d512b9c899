// A conversation with the server that this page came from. It is kept in this browser, and nowhere else.
import { Writer } from "./markdown.js";

const query = new URLSearchParams(location.search);
/** Large type for a screen that many use: nothing is kept, and a visitor is forgotten after some seconds without a sign of life. */
const kiosk = query.has("kiosk");
const [IDLE, WARNING] = [180, 20];
const at = (id) => document.getElementById(id);
const on = (node, kind, act) => node.addEventListener(kind, act);
const add = (parent, name) => parent.appendChild(document.createElement(name));
const [talk, text, state, told, door] = ["talk", "text", "state", "told", "door"].map(at);
document.documentElement.classList.toggle("kiosk", kiosk);

/** What was said: `role`, `content` and, of an answer, `thought`. */
let turns = load();
/** What a new conversation has put away. */
let away = null;
/** What stops the answer that is on its way. */
let running = null;

function load() {
  if (kiosk) return [];
  try {
    const kept = JSON.parse(localStorage.getItem("stonechat-talk"));
    return kept.filter(({ role, content }) => ["user", "assistant"].includes(role) && typeof content === "string");
  } catch {
    return []; // nothing was kept, or nothing that this page wrote
  }
}

function keep() {
  if (kiosk) return;
  try { localStorage.setItem("stonechat-talk", JSON.stringify(turns.filter(isSaid))); } catch { /* no room: it goes on without */ }
}

const isSaid = (turn) => turn.content || turn.thought;

/** What the model is told: an answer that never came leaves two questions, which are one to it. */
function messages() {
  const list = [];
  for (const { role, content } of turns.filter((turn) => turn.content)) {
    if (list.at(-1)?.role === role) list.at(-1).content += "\n\n" + content;
    else list.push({ role, content });
  }
  return list;
}

// What is seen.

/** Whether the end of the conversation is kept in view: until the reader scrolls up, and again from where they are back. */
let follows = true;
let scrolled = 0;

function follow() {
  if (follows) talk.scrollTop = talk.scrollHeight;
}

function scrolls() {
  const isAtEnd = talk.scrollHeight - talk.clientHeight - talk.scrollTop < 4;
  follows = isAtEnd || (follows && talk.scrollTop >= scrolled);
  scrolled = talk.scrollTop;
  at("end").hidden = follows;
}

function toEnd() {
  at("end").hidden = follows = true;
  follow();
}

function article(role, name) {
  const node = add(talk, "article");
  node.className = role;
  node.ariaLabel = name;
  node.dir = "auto";
  return node;
}

/** A turn on the page, and how what was added to it gets there. */
function show(turn) {
  if (turn.role === "user") {
    article("user", "You").textContent = turn.content;
    return null;
  }
  const node = article("assistant", "Answer");
  const thinking = document.createElement("details");
  const [title, thought] = [add(thinking, "summary"), add(thinking, "div")];
  const writer = new Writer(node);
  const write = (done) => {
    if (turn.thought && !thinking.parentNode) node.prepend(thinking);
    title.textContent = turn.content || done ? "Thought" : "Thinking…";
    thought.textContent = turn.thought;
    if (done) writer.end(turn.content);
    else writer.write(turn.content);
    follow();
  };
  return { node, write };
}

function showAll() {
  // What an answer adds is read out, not what is shown anew.
  talk.ariaLive = "off";
  talk.replaceChildren();
  for (const turn of turns) show(turn)?.write(true);
  controls();
  toEnd();
}

/** Shows what can be done. The focus stays where it was, as far as that is still there. */
function controls() {
  const focused = document.activeElement;
  at("send").hidden = running;
  at("stop").hidden = !running;
  at("retry").hidden = running || !turns.length;
  at("undo").hidden = !away;
  at("hint").hidden = turns.length;
  if (running && [at("send"), at("retry")].includes(focused)) at("stop").focus();
  if (!running && focused === at("stop")) toText();
}

/** Back to the text; but where it is touched, that would call a keyboard onto the answer. */
function toText() {
  (matchMedia("(pointer: coarse)").matches ? at("send") : text).focus();
}

// What is asked.

/** Asks the server, and the reader for a key where the server wants one. */
async function ask(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem("stonechat-key");
    const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
    const response = await fetch(path, { ...options, headers }).catch(because("The server cannot be reached."));
    if (response.ok) return response;
    const said = await response.json().catch(() => null);
    const reason = said?.error?.message ?? `the server answers with status ${response.status}`;
    if (response.status !== 401 || !(await unlock(key ? reason : "This server needs a key."))) throw new Error(reason);
  }
}

const because = (reason) => (error) => { throw error.name === "AbortError" ? error : new Error(reason); };

/** Asks for a key. Whether one was given. */
function unlock(why) {
  at("why").textContent = why;
  door.returnValue = "";
  door.showModal();
  at("key").focus();
  return new Promise((resolve) => {
    door.onclose = () => {
      if (door.returnValue) sessionStorage.setItem("stonechat-key", door.returnValue);
      at("key").value = "";
      resolve(door.returnValue);
    };
  });
}

async function answer(more) {
  const mine = turns;
  away = null;
  for (const error of talk.querySelectorAll(".error")) error.remove();
  const body = JSON.stringify({ messages: messages(), stream: true, return_progress: true, ...more });
  const turn = { role: "assistant", content: "", thought: "" };
  const shown = show(turn);
  mine.push(turn);
  talk.ariaLive = "polite";
  const control = running = new AbortController();
  controls();
  toEnd();
  let [tokens, first, frame, failed] = [0, 0, 0, null];
  let note = "Waiting…";
  const draw = () => {
    frame = 0;
    shown.write(false);
    if (running === control) state.textContent = note;
  };
  state.textContent = note;
  told.textContent = "Asked.";
  try {
    const response = await ask("v1/chat/completions", { method: "POST", body, signal: control.signal });
    for await (const chunk of events(response.body)) {
      if (chunk.error) throw new Error(chunk.error.message);
      const { prompt_progress: progress, timings } = chunk;
      const { delta = {}, finish_reason: finish } = chunk.choices?.[0] ?? {};
      if (progress) note = `Reading ${progress.processed} of ${progress.total} tokens…`;
      turn.content += delta.content ?? "";
      turn.thought += delta.reasoning_content ?? "";
      if (delta.content || delta.reasoning_content) {
        const now = performance.now();
        first ||= now;
        // The first has no time of its own: it ends the reading.
        note = now > first ? `${(tokens / (now - first) * 1000).toFixed(1)} tokens/s` : "";
        tokens++;
      }
      if (timings) note = `${timings.predicted_per_second.toFixed(1)} tokens/s`;
      if (finish === "length") note += " · as long as an answer may be";
      frame ||= requestAnimationFrame(draw);
    }
  } catch (error) {
    failed = error;
  }
  cancelAnimationFrame(frame);
  shown.write(true);
  if (!isSaid(turn)) {
    mine.splice(mine.indexOf(turn), 1);
    shown.node.remove();
  }
  if (running !== control) return; // a new conversation has begun meanwhile
  if (control.signal.aborted) {
    note = tokens > 1 ? `Stopped · ${note}` : "Stopped";
  } else if (failed) {
    note = "";
    const node = article("error", "Error");
    node.role = "alert";
    node.textContent = failed.message;
  }
  state.textContent = note;
  told.textContent = control.signal.aborted ? "Stopped." : "";
  running = null;
  keep();
  controls();
  follow();
  seen();
}

/** The objects of a stream of events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const broken = "The connection broke off before the answer had ended.";
  let held = "";
  for (;;) {
    const { done, value } = await reader.read().catch(because(broken));
    if (done) throw new Error(broken);
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

// What the reader does.

function send() {
  const content = text.value.trim();
  if (!content || running) return;
  text.value = "";
  turns.push({ role: "user", content });
  show(turns.at(-1));
  keep();
  answer();
}

/** Asks for another answer to the last question. */
function retry() {
  if (running || !turns.length) return;
  const other = turns.at(-1).role === "assistant";
  if (other) {
    turns.pop();
    [...talk.querySelectorAll(".assistant")].pop().remove();
  }
  // The server may be set to give the same question the same answer each time.
  answer(other && { temperature: 0.8, seed: Math.floor(Math.random() * 2 ** 31) });
}

function stop() {
  running?.abort();
}

function clear() {
  stop();
  running = null;
  away = !kiosk && turns.length ? turns : null;
  turns = [];
  state.textContent = told.textContent = "";
  if (kiosk) {
    text.value = "";
    door.close("");
  }
  keep();
  showAll();
  toText();
}

function undo() {
  [turns, away] = [away, null];
  keep();
  showAll();
  toText();
}

on(at("ask"), "submit", (event) => { event.preventDefault(); send(); });
on(text, "keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});
on(window, "keydown", (event) => { if (event.key === "Escape" && !door.open) stop(); });
for (const [id, act] of Object.entries({ stop, clear, retry, undo, end: toEnd })) on(at(id), "click", act);
on(at("unlock"), "submit", (event) => { event.preventDefault(); door.close(at("key").value.trim()); });
on(at("leave"), "click", () => door.close(""));
on(talk, "scroll", scrolls);
new ResizeObserver(follow).observe(talk);
// What was said by then stays, though the page goes in the middle of it.
on(window, "pagehide", () => { if (running) keep(); });
// Another tab has gone on with the conversation.
on(window, "storage", (event) => {
  if (event.key === "stonechat-talk" && !kiosk && !running) { turns = load(); showAll(); }
});

/** A sign of life was seen. */
let seen = () => {};
let idle = IDLE;
if (kiosk) {
  const wish = query.get("idle");
  if (wish !== null) {
    if (Number(wish) >= 1) idle = Number(wish);
    else state.textContent = `idle=${wish} is no number of seconds: a visitor is forgotten after ${IDLE}.`;
  }
  let last = performance.now();
  let warned = false;
  seen = () => {
    last = performance.now();
    if (warned) state.textContent = told.textContent = "";
    warned = false;
  };
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel", "touchmove", "input"]) on(window, kind, seen);
  // The browser would bring back what the last visitor wrote.
  on(text, "beforeinput", (event) => { if (event.inputType.startsWith("history")) event.preventDefault(); });
  setInterval(() => {
    if ((running && !door.open) || !(turns.length || text.value)) return;
    const left = idle - (performance.now() - last) / 1000;
    if (left <= 0) {
      seen();
      clear();
    } else if (left <= Math.min(WARNING, idle / 2)) {
      state.textContent = `Still there? All is forgotten in ${Math.ceil(left)} s; a touch keeps it.`;
      if (!warned) told.textContent = state.textContent;
      warned = true;
    }
  }, 250);
}
at("hint").textContent = "A language model answers, and can be wrong. " + (kiosk
  ? `Nothing is kept: after ${idle} seconds without a touch, all that was said is forgotten.`
  : "What is said is kept in this browser alone.");
showAll();
ask("v1/models").then((response) => response.json()).then((list) => { at("model").textContent = list.data[0].id; })
  .catch(() => { /* the first question says what is wrong */ });
