// Markdown as nodes of the document. Text only ever becomes text nodes, so that nothing in it can be markup.

/** The nodes for a text. */
export function render(text) {
  const root = document.createDocumentFragment();
  const lines = text.split("\n");
  let list = null;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at];
    const fence = line.match(/^\s*```/);
    const heading = line.match(/^(#{1,6})\s+(.*)$/);
    const item = line.match(/^\s*(?:([-*+])|\d+[.)])\s+(.*)$/);
    if (!item) list = null;
    if (fence) {
      const code = [];
      while (++at < lines.length && !/^\s*```/.test(lines[at])) code.push(lines[at]);
      const pre = add(root, "pre");
      add(pre, "code").textContent = code.join("\n");
    } else if (heading) {
      inline(add(root, "h" + Math.min(6, heading[1].length + 1)), heading[2]);
    } else if (item) {
      const kind = item[1] ? "ul" : "ol";
      if (list?.localName !== kind) list = add(root, kind);
      inline(add(list, "li"), item[2]);
    } else if (line.trim()) {
      const words = [line];
      const plain = (next) => next?.trim() && !/^\s*(```|#{1,6}\s|[-*+]\s|\d+[.)]\s)/.test(next);
      while (plain(lines[at + 1])) words.push(lines[++at]);
      inline(add(root, "p"), words.join("\n"));
    }
  }
  return root;
}

function add(parent, name) {
  return parent.appendChild(document.createElement(name));
}

/** Code, bold and italic words of a line. Links stay text: nobody is led elsewhere. */
function inline(parent, text) {
  for (const part of text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*)/)) {
    if (part.length > 2 && part.startsWith("`")) add(parent, "code").textContent = part.slice(1, -1);
    else if (part.length > 4 && part.startsWith("**")) add(parent, "strong").textContent = part.slice(2, -2);
    else if (part.length > 2 && part.startsWith("*") && part.endsWith("*")) add(parent, "em").textContent = part.slice(1, -1);
    else parent.append(part);
  }
}
