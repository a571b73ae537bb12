"use strict";
// Words of two texts that the other one lacks, and highlighted code. Nothing here makes HTML of a text.
const WORD = /[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu;
const LARGEST = 4000000; // cells of a table of common subsequences; texts beyond that are compared by their ends alone

function wordsOf(text) {
  const words = [];
  let space = "";
  let at = 0;
  for (const [part] of text.matchAll(WORD)) {
    if (/^\s/.test(part)) space = part;
    else {
      words.push({ part, space, from: at, to: at + part.length });
      space = "";
    }
    at += part.length;
  }
  return words;
}

// Which words of a and of b belong to a longest common subsequence: two lists, the index of the partner or -1.
function aligned(a, b) {
  const left = new Int32Array(a.length).fill(-1);
  const right = new Int32Array(b.length).fill(-1);
  let start = 0;
  while (start < a.length && start < b.length && a[start].part === b[start].part) {
    left[start] = right[start] = start;
    start++;
  }
  let endA = a.length;
  let endB = b.length;
  while (endA > start && endB > start && a[endA - 1].part === b[endB - 1].part) {
    endA--;
    endB--;
    left[endA] = endB;
    right[endB] = endA;
  }
  const rows = endA - start;
  const columns = endB - start;
  if (!rows || !columns || rows * columns > LARGEST) return [left, right];
  const width = columns + 1;
  const longest = new Uint16Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      longest[i * width + j] = a[start + i].part === b[start + j].part
        ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  for (let i = 0, j = 0; i < rows && j < columns;) {
    if (a[start + i].part === b[start + j].part) {
      left[start + i] = start + j;
      right[start + j] = start + i;
      i++;
      j++;
    } else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i++;
    else j++;
  }
  return [left, right];
}

// Ranges of the first text that the second one lacks: words, and white space before a common word that differs.
function lacking(text, other) {
  const words = wordsOf(text);
  const others = wordsOf(other);
  const [partner] = aligned(words, others);
  const ranges = [];
  words.forEach((word, index) => {
    const alone = partner[index] < 0;
    const neighbour = index > 0 && partner[index] === partner[index - 1] + 1;
    const first = index === 0 && partner[index] === 0;
    const differs = !alone && (neighbour || first) && word.space !== others[partner[index]].space;
    if (differs && word.space) ranges.push([word.from - word.space.length, word.from]);
    if (!alone) return;
    const last = ranges.at(-1);
    if (index > 0 && partner[index - 1] < 0 && last && !word.space.includes("\n")) last[1] = word.to;
    else ranges.push([word.from, word.to]);
  });
  return ranges;
}

// A <pre> of code. Spans say how it is highlighted; each mark is a list of ranges and the class of the element around them.
function codeOf(text, spans, marks) {
  const pre = document.createElement("pre");
  pre.className = "code";
  pre.tabIndex = 0;
  const edges = new Set([0, text.length]);
  const tokens = [];
  let at = 0;
  for (const span of spans ? spans.split(" ") : []) {
    const colon = span.lastIndexOf(":");
    tokens.push([at, at += Number(span.slice(colon + 1)), span.slice(0, colon)]);
    edges.add(at);
  }
  for (const { ranges } of marks) for (const [from, to] of ranges) edges.add(from).add(to);
  const places = [...edges].sort((one, two) => one - two);
  const cursors = marks.map(() => 0);
  let token = 0;
  let wrapped = "";
  let parent = pre;
  for (let number = 0; number + 1 < places.length; number++) {
    const [from, to] = [places[number], places[number + 1]];
    while (token < tokens.length && tokens[token][1] <= from) token++;
    const names = marks.filter(({ ranges }, index) => {
      while (cursors[index] < ranges.length && ranges[cursors[index]][1] <= from) cursors[index]++;
      return cursors[index] < ranges.length && ranges[cursors[index]][0] <= from;
    }).map(({ name }) => name);
    const key = names.join(" ");
    if (key !== wrapped) {
      wrapped = key;
      parent = pre;
      if (key) {
        parent = document.createElement(names.includes("extra") ? "mark" : "span");
        parent.className = names.length > 1 ? "lacks-3" : key;
        pre.append(parent);
      }
    }
    const name = token < tokens.length ? tokens[token][2] : "";
    const piece = document.createElement("span");
    if (name) piece.className = name;
    piece.textContent = text.slice(from, to);
    parent.append(piece);
  }
  return pre;
}

function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
