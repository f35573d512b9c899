// Markdown as nodes of the document. Text only ever becomes text nodes, so that nothing in it can be markup, and links stay text,
// so that nobody is led elsewhere. What a model writes is read: headings, lists, code, quotes, tables and emphasis. A line of its
// text stays a line.

const FENCE = /^[ \t]*(`{3,}|~{3,})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^[ \t]*([-*+]|\d{1,9}[.)])(?: +|$)/;
/** What stands below the heads of a table. */
const BELOW = /^ *\|?(?: *:?-+:? *\|)* *:?-+:? *\|? *$/;
/** Deeper lists and quotes are text. */
const DEEPEST = 8;
// Spans have an end to how long they may be: one that never ends costs little to try.
const INLINE = new RegExp([
  "(?<ticks>`+)(?!`)(?<code>[^]{0,500}?[^`])\\k<ticks>(?!`)",
  "\\\\(?<escaped>[!-/:-@[-`{-~])",
  "\\*\\*(?=\\S)(?<strong>[^]{0,500}?\\S)\\*\\*(?!\\*)",
  "(?<!\\w)__(?=\\S)(?<strong2>[^]{0,500}?\\S)__(?!\\w)",
  "(?<!\\w)\\*(?![\\s*])(?<em>(?:[^*]|\\*\\*[^*]{1,500}\\*\\*){1,500}?)(?<!\\s)\\*(?![\\w*])",
  "(?<!\\w)_(?![\\s_])(?<em2>[^]{0,500}?[^\\s_])_(?!\\w)",
  "~~(?=\\S)(?<del>[^]{0,500}?\\S)~~",
].join("|"), "g");

/** The nodes for a text. */
export function render(text) {
  return fill(document.createDocumentFragment(), text.split("\n"), 0);
}

/** Writes a text that grows: each block of it once it is settled, and only what is not settled anew each time. */
export class Writer {
  #settled = 0;
  #growing = document.createElement("div");

  constructor(root) {
    this.#growing.className = "growing";
    // Who listens hears each block once, as it is settled.
    this.#growing.ariaHidden = "true";
    root.append(this.#growing);
  }

  /** The text as it is by now. */
  write(text) {
    const lines = text.slice(this.#settled).split("\n");
    const found = [...blocks(lines, 0)];
    // Where a block ends, the next one's first line and the one below say (that may make it a table). The last line may still
    // become anything.
    const last = found.findLastIndex(({ at }) => at < lines.length - 2);
    for (const { node } of found.splice(0, Math.max(last, 0))) this.#growing.before(node);
    if (last > 0) this.#settled += lines.slice(0, found[0].at).join("\n").length + 1;
    this.#growing.replaceChildren(...found.map(({ node }) => node));
  }

  /** The whole text; there will be no more. */
  end(text) {
    this.#growing.replaceWith(render(text.slice(this.#settled)));
  }
}

function fill(parent, lines, depth) {
  for (const { node } of blocks(lines, depth)) parent.append(node);
  return parent;
}

/** The blocks of lines, each with the line at which it begins. None depends on what stands before it. */
function* blocks(lines, depth) {
  for (let at = 0, next; at < lines.length; at = next) {
    next = at + 1;
    if (!lines[at].trim()) continue;
    const found = block(lines, at, depth);
    next = found.next;
    yield { node: found.node, at };
  }
}

function block(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return fenced(lines, at);
  const heading = HEADING.exec(line);
  if (heading) {
    const words = heading[2].trimEnd().replace(/\s#+$/, "");
    return { node: inline(element("h" + Math.min(6, heading[1].length + 1)), words), next: at + 1 };
  }
  if (RULE.test(line)) return { node: element("hr"), next: at + 1 };
  if (QUOTE.test(line) && depth < DEEPEST) return quote(lines, at, depth);
  if (ITEM.test(line) && depth < DEEPEST) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  let next = at + 1;
  while (next < lines.length && isPlain(lines[next]) && !isTable(lines, next)) next++;
  return { node: inline(element("p"), lines.slice(at, next).map((words) => words.trim()).join("\n")), next };
}

/** Whether a line goes on with the text above it. */
function isPlain(line) {
  return line.trim() && ![FENCE, HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line));
}

function fenced(lines, at) {
  const [, fence] = FENCE.exec(lines[at]);
  const indent = indentOf(lines[at]);
  const code = [];
  let next = at + 1;
  for (; next < lines.length; next++) {
    const line = lines[next].trim();
    if (line.length >= fence.length && line === fence[0].repeat(line.length)) break;
    code.push(outdent(lines[next], indent));
  }
  const node = element("pre");
  node.appendChild(element("code")).textContent = code.join("\n");
  return { node, next: next + 1 };
}

function quote(lines, at, depth) {
  const inner = [];
  let next = at;
  for (; next < lines.length && (QUOTE.test(lines[next]) || isPlain(lines[next])); next++) inner.push(lines[next].replace(QUOTE, ""));
  return { node: fill(element("blockquote"), inner, depth + 1), next };
}

function list(lines, at, depth) {
  const indent = indentOf(lines[at]);
  const marker = ITEM.exec(lines[at])[1];
  const ordered = /\d/.test(marker);
  const node = element(ordered ? "ol" : "ul");
  if (ordered) node.start = Number.parseInt(marker, 10);
  let next = at;
  for (;;) {
    const item = next < lines.length && !RULE.test(lines[next]) && ITEM.exec(lines[next]);
    if (!item || /\d/.test(item[1]) !== ordered || indentOf(lines[next]) > indent + 1) break;
    const own = indentOf(lines[next]);
    const words = own + item[0].trimStart().length;
    const inner = [lines[next].slice(item[0].length)];
    // What stands further right than the marker belongs to it, and what goes on with its text.
    for (next++; next < lines.length; next++) {
      const line = lines[next];
      if (!line.trim()) inner.push("");
      else if (indentOf(line) > own + 1) inner.push(outdent(line, words));
      else if (inner.at(-1) && isPlain(line)) inner.push(line);
      else break;
    }
    node.append(fill(element("li"), inner, depth + 1));
  }
  return { node, next };
}

function isTable(lines, at) {
  const below = lines[at + 1] ?? "";
  return lines[at].includes("|") && below.includes("-") && BELOW.test(below) && cells(below).length === cells(lines[at]).length;
}

function table(lines, at) {
  const node = element("div");
  const grid = node.appendChild(element("table"));
  node.className = "wide";
  const sides = cells(lines[at + 1]).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "end") : ""));
  const row = (parent, line, kind) => {
    const [words, to] = [cells(line), parent.appendChild(element("tr"))];
    sides.forEach((side, column) => {
      const cell = inline(to.appendChild(element(kind)), words[column] ?? "");
      cell.style.textAlign = side;
    });
  };
  row(grid.appendChild(element("thead")), lines[at], "th");
  const body = grid.appendChild(element("tbody"));
  let next = at + 2;
  for (; next < lines.length && isPlain(lines[next]); next++) row(body, lines[next], "td");
  return { node, next };
}

function cells(line) {
  return line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
}

/** Code and emphasis of a text. */
function inline(parent, text) {
  let done = 0;
  for (const match of text.matchAll(INLINE)) {
    const { code, escaped, strong, strong2, em, em2, del } = match.groups;
    parent.append(text.slice(done, match.index));
    done = match.index + match[0].length;
    if (code !== undefined) parent.appendChild(element("code")).textContent = code.replace(/^ (.*\S.*) $/s, "$1");
    else if (escaped) parent.append(escaped);
    else if (strong || strong2) inline(parent.appendChild(element("strong")), strong || strong2);
    else if (em || em2) inline(parent.appendChild(element("em")), em || em2);
    else inline(parent.appendChild(element("del")), del);
  }
  parent.append(text.slice(done));
  return parent;
}

/** The columns before the words of a line. */
function indentOf(line) {
  return /^[ \t]*/.exec(line)[0].replaceAll("\t", "    ").length;
}

/** A line without so many columns of its indent. */
function outdent(line, columns) {
  let at = 0;
  for (; columns > 0 && (line[at] === " " || line[at] === "\t"); at++) columns -= line[at] === " " ? 1 : 4;
  return line.slice(at);
}

function element(name) {
  return document.createElement(name);
}
