"""
The mesh as one page: complete in one file, nothing is loaded from anywhere. Pure: no Salt, no side effects.

Half a million sessions travel as runs of equal bytes, one list of numbers for each node. All that came from
the datastore or from BIRD is data in the page, never markup: the script only ever sets text.
"""

import itertools
import json

import calico_report

# Up to how many nodes and peers are drawn as a ring.
RING = 40


def page(mesh, result, now):
    """
    The page (text).

    mesh
        :class:`calico_mesh.Mesh`.
    result
        What :func:`calico_report.data` made of it.
    now
        When the minions were asked (aware datetime).
    """
    counts = result["figures"]
    data = {
        "names": mesh.names,
        "count": mesh.count,
        "described": [mesh.described[name][:3] for name in mesh.names[: mesh.count]],
        "conditions": [_conditions(mesh, name) for name in mesh.names[: mesh.count]],
        "rows": [None if row is None else _runs(row) for row in mesh.rows],
        "reasons": mesh.reasons,
        "findings": result["findings"],
        "errors": counts["errors"],
        "verdict": calico_report.verdict(counts),
        "standing": list(calico_report.standing(counts, now)),
        "when": now.strftime("%Y-%m-%d %H:%M UTC"),
        "ring": RING,
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    # In JSON these occur in texts only; a browser must not see a tag in them.
    for letter in "<>&":
        text = text.replace(letter, "\\u%04x" % ord(letter))
    return _PAGE.replace("@DATA@", text)


def _runs(row):
    """Bytes as [value, how often, value, how often, …]."""
    runs = []
    for value, equal in itertools.groupby(row):
        runs += value, sum(1 for _ in equal)
    return runs


def _conditions(mesh, name):
    view = mesh.view(name)
    if view is None:
        return None
    return [view["image"], *filter(None, [view["error"]]), *view["reasons"]]


_PAGE = r"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Calico mesh</title>
<style>
:root {
  --paper: #f6f7f9; --card: #ffffff; --ink: #17212b; --soft: #5b6875; --line: #d9dfe5;
  --none: #f1f3f6; --up: #a6c8d6; --down: #d3262d; --half: #e58a00; --extra: #8a4fc4; --mute: #77828d;
  --good: #1d7f54; --mark: #17212b; --group: #ffffff; --hover: #edf2f6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #10151b; --card: #182029; --ink: #e5ebf0; --soft: #94a2af; --line: #2d3843;
    --none: #1d2630; --up: #2f5566; --down: #ff5a55; --half: #ffb02e; --extra: #c08bf2; --mute: #8d99a5;
    --good: #4cc38a; --mark: #ffffff; --group: #10151b; --hover: #222d38;
  }
}
* { box-sizing: border-box; }
html, body { height: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif;
  display: grid; grid-template-rows: auto minmax(0, 1fr); }
header { padding: 12px 18px 10px; background: var(--card); border-bottom: 1px solid var(--line);
  display: flex; flex-wrap: wrap; gap: 2px 28px; align-items: baseline; }
h1 { font-size: 19px; margin: 0; }
h1 span { font-weight: 600; }
.bad { color: var(--down); } .warn { color: var(--half); } .good { color: var(--good); }
#standing { color: var(--soft); display: flex; flex-wrap: wrap; gap: 0 22px; flex: 1 1 100%; }
#when { color: var(--soft); margin-left: auto; }
main { display: grid; grid-template-columns: minmax(0, 1fr) minmax(340px, 460px); min-height: 0; }
#picture { position: relative; min-height: 0; padding: 10px 12px; display: grid; grid-template-rows: auto minmax(0, 1fr); }
#tools { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; color: var(--soft); font-size: 13px; }
#tools i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 5px; vertical-align: -1px; }
#tools .push { margin-left: auto; }
button { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 5px;
  padding: 2px 9px; cursor: pointer; }
button:hover { background: var(--hover); }
button[aria-pressed=true] { border-color: var(--ink); }
#stage { position: relative; min-height: 320px; min-width: 0; margin-top: 8px; }
canvas { position: absolute; inset: 0; width: 100%; height: 100%; outline-offset: -2px; cursor: crosshair; touch-action: none; }
#tip { position: absolute; pointer-events: none; z-index: 2; max-width: 440px; background: var(--card); color: var(--ink);
  border: 1px solid var(--line); border-radius: 6px; padding: 7px 10px; box-shadow: 0 3px 14px #0004; font-size: 13px; display: none; }
#tip b, #tip div { display: block; overflow-wrap: anywhere; }
aside { border-left: 1px solid var(--line); background: var(--card); display: grid; min-height: 0;
  grid-template-rows: auto minmax(0, 1fr); }
#search { padding: 12px 14px 10px; border-bottom: 1px solid var(--line); display: grid; grid-template-columns: 1fr auto; gap: 8px; align-items: center; }
#filter { width: 100%; font: inherit; padding: 6px 10px; border: 1px solid var(--line); border-radius: 6px; background: var(--paper); color: var(--ink); }
#matches { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: 4px; }
#matches:empty { display: none; }
#matches button { padding: 0 7px; font-size: 13px; }
#scroll { overflow: auto; padding: 4px 14px 20px; }
h2 { font-size: 13px; color: var(--soft); font-weight: 600; margin: 14px 0 4px; }
.finding, .row { display: block; width: 100%; text-align: left; border: 0; border-left: 4px solid var(--down); border-radius: 0;
  background: none; padding: 5px 4px 6px 10px; margin: 3px 0; overflow-wrap: anywhere; }
.finding.warning { border-color: var(--half); }
.finding b, .row b { font-weight: 600; }
.finding small { display: block; color: var(--soft); font-size: 13px; }
.row { padding: 3px 4px 3px 10px; border-left-width: 3px; }
.row.half { border-color: var(--half); } .row.extra { border-color: var(--extra); }
#node { border-bottom: 1px solid var(--line); padding-bottom: 10px; }
#node:empty { display: none; }
#node .facts { color: var(--soft); }
p { margin: 6px 0; }
:focus-visible { outline: 2px solid var(--ink); }
@media (max-width: 860px) {
  html, body { height: auto; } main { grid-template-columns: 1fr; } #stage { height: 92vw; }
  aside { border-left: 0; border-top: 1px solid var(--line); }
}
</style>
</head>
<body>
<header>
<h1>Calico mesh: <span id="verdict"></span></h1><div id="when"></div><div id="standing"></div>
</header>
<main>
<section id="picture" aria-label="Picture of the mesh">
<div id="tools"></div>
<div id="stage"><canvas id="canvas" tabindex="0" role="img"
 aria-label="Sessions between all nodes; the list beside it names the ones that are bad"></canvas><div id="tip"></div></div>
</section>
<aside>
<div id="search"><input id="filter" type="search" placeholder="Find a node or a peer ( / )" aria-label="Find a node or a peer"
 autocomplete="off" spellcheck="false"><button id="clear">Show all</button><div id="matches"></div></div>
<div id="scroll"><div id="node"></div><div id="findings"></div></div>
</aside>
</main>
<script type="application/json" id="data">@DATA@</script>
<script>
"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const NONE = 0, UP = 1, EXTRA = 2, DOWN = 3;
// Classes of cells: what is drawn.
const BLANK = 0, FINE = 1, BAD = 2, HALF = 3, WILD = 4, MUTE = 5;
const N = D.names.length;
const $ = id => document.getElementById(id);
const make = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

// Sessions -------------------------------------------------------------------------------------
const codes = new Uint8Array(N * N);
D.rows.forEach((runs, i) => {
  for (let at = i * N, k = 0; runs && k < runs.length; k += 2) {
    if (runs[k]) codes.fill(runs[k], at, at + runs[k + 1]);
    at += runs[k + 1];
  }
});
const told = D.rows.map(row => row !== null);
const up = code => code === UP || code === EXTRA;
function classOf(i, j) {
  if (i === j) return BLANK;
  const here = codes[i * N + j], there = codes[j * N + i];
  if (!told[i]) {
    if (there >= DOWN) return BAD;
    return up(there) ? (i >= D.count ? FINE : MUTE) : BLANK;
  }
  if (here >= DOWN) return BAD;
  if (here === NONE) return told[j] && there === UP ? HALF : BLANK;
  if (told[j] && !up(there)) return HALF;
  return here === EXTRA && there !== UP ? WILD : FINE;
}
const cells = new Uint8Array(N * N), wrong = new Uint32Array(N), wanted = new Uint32Array(N);
let worst = [];
for (let i = 0; i < N; i++) {
  for (let j = 0; j < N; j++) {
    const c = cells[i * N + j] = classOf(i, j);
    if (c === BLANK) continue;
    wanted[i]++;
    if (c === BAD || c === HALF || c === WILD) { wrong[i]++; worst.push(i * N + j); }
  }
}
// A node that has (almost) none is what is wrong: its neighbours are not to blame for their side of it.
const place = new Map(D.names.map((name, i) => [name, i]));
const sick = new Set(D.findings.filter(f => f.what === "sessions").flatMap(f => f.nodes.map(name => place.get(name))));
const blame = wrong.slice();
for (const k of worst) if (sick.has(k % N) && !sick.has(k / N | 0)) blame[k / N | 0]--;
const ill = i => blame[i] > 0 || i < D.count && (!told[i] || D.conditions[i].length > 1);
const words = code => code === NONE ? "no such session" : code === UP ? "Established"
  : code === EXTRA ? "Established, wanted by nobody" : D.reasons[code - DOWN];
function says(i, j) {
  if (told[i]) return D.names[i] + " says: " + words(codes[i * N + j]);
  return i < D.count ? D.names[i] + " gave no answer" : "";
}
const groupOf = i => {
  if (i >= D.count) return "peers";
  const [, as, rack] = D.described[i];
  return rack || (as ? "AS " + as : "");
};
const groups = [];
for (let i = 0; i < N; i++) {
  const last = groups[groups.length - 1];
  if (last && last.name === groupOf(i)) last.end = i + 1;
  else groups.push({ name: groupOf(i), start: i, end: i + 1 });
}

// What is beside the picture -------------------------------------------------------------------
$("verdict").textContent = D.verdict;
$("verdict").className = D.errors ? "bad" : D.findings.length ? "warn" : "good";
$("when").textContent = D.when;
D.standing.forEach(line => $("standing").append(make("span", "", line)));
let picked = -1, other = -1;      // a node, and perhaps one of its neighbours
let marked = new Set();           // what the filter or a finding names
const list = $("findings");
list.append(make("h2", "", D.findings.length ? "What is wrong" : "Nothing is wrong."));
D.findings.forEach(found => {
  const entry = make("button", "finding " + found.level);
  const some = found.nodes.length > 6 ? found.nodes.slice(0, 5).join(", ") + " and " + (found.nodes.length - 5) + " more"
    : found.nodes.join(found.what === "session" || found.what === "one-sided" ? " – " : ", ");
  if (some) entry.append(make("b", "", some + ": "));
  entry.append(document.createTextNode(found.seen));
  if (found.do) entry.append(make("small", "", found.do));
  entry.addEventListener("click", () => {
    const known = found.nodes.map(name => place.get(name)).filter(i => i !== undefined);
    marked = new Set(known);
    picked = known.length ? known[0] : -1;
    other = known.length === 2 && found.what !== "address" ? known[1] : -1;
    if (picked >= 0) bring(picked, other < 0 ? picked : other);
    describe(); draw();
  });
  list.append(entry);
});
function describe() {
  const box = $("node");
  box.replaceChildren();
  if (picked < 0) return;
  const i = picked;
  box.append(make("h2", "", D.names[i]));
  const facts = [];
  if (i < D.count) {
    const [addresses, as, rack] = D.described[i];
    facts.push(...addresses, as ? "AS " + as : "", rack ? "rack " + rack : "");
    if (D.conditions[i]) facts.push(D.conditions[i][0] || "calico-node does not run");
  } else facts.push("a peer that is no node of this cluster");
  box.append(make("p", "facts", facts.filter(Boolean).join(" · ")));
  if (i < D.count && !D.conditions[i]) box.append(make("p", "bad", "Its minion gave no answer."));
  (i < D.count && D.conditions[i] || []).slice(1).forEach(text => box.append(make("p", "bad", text)));
  box.append(make("p", "", wrong[i] ? wrong[i] + " of its " + wanted[i] + " sessions are not as they should be:"
    : wanted[i] + (wanted[i] === 1 ? " session, as it should be." : " sessions, all as they should be.")));
  let shown = 0;
  for (let j = 0; j < N && wrong[i] && shown < 300; j++) {
    const c = cells[i * N + j];
    if (c !== BAD && c !== HALF && c !== WILD) continue;
    shown++;
    const row = make("button", "row" + (c === HALF ? " half" : c === WILD ? " extra" : ""));
    row.append(make("b", "", D.names[j]), document.createTextNode(" " + [says(i, j), says(j, i)].filter(Boolean).join("; ")));
    row.addEventListener("click", () => { other = j; bring(i, j); draw(); });
    box.append(row);
  }
  if (wrong[i] > shown) box.append(make("p", "facts", "and " + (wrong[i] - shown) + " more"));
}
const filter = $("filter");
function search() {
  const text = filter.value.trim().toLowerCase();
  const found = [];
  if (text) D.names.forEach((name, i) => {
    const more = i < D.count ? D.described[i][0].join(" ") + " " + (D.described[i][2] || "") : "";
    if ((name + " " + more).toLowerCase().includes(text)) found.push(i);
  });
  marked = new Set(found);
  const box = $("matches");
  box.replaceChildren();
  found.sort((a, b) => ill(b) - ill(a) || blame[b] - blame[a]).slice(0, 12).forEach(i => {
    const entry = make("button", ill(i) ? "bad" : "", D.names[i]);
    entry.addEventListener("click", () => pick(i));
    box.append(entry);
  });
  if (text) box.append(make("span", "", found.length > 12 ? "… " + found.length : found.length ? "" : "no such name"));
  draw();
  return found;
}
function pick(i) { picked = i; other = -1; bring(i, i); describe(); $("scroll").scrollTop = 0; draw(); }
filter.addEventListener("input", search);
filter.addEventListener("keydown", event => {
  if (event.key === "Enter") { const found = search(); if (found.length) pick(found[0]); }
});
$("clear").addEventListener("click", reset);
function reset() {
  filter.value = ""; $("matches").replaceChildren(); marked = new Set(); picked = other = -1;
  zoom = 1; left = top_ = 0; describe(); draw();
}

// The picture ----------------------------------------------------------------------------------
const canvas = $("canvas"), pen = canvas.getContext("2d"), tip = $("tip");
let ring = N <= D.ring && N > 1, zoom = 1, left = 0, top_ = 0, hover = null;
let color = {}, sheet = null;
const NAMES = ["none", "up", "down", "half", "extra", "mute"];
function paint() {
  const style = getComputedStyle(document.documentElement);
  ["ink", "soft", "line", "card", "paper", "mark", "group", ...NAMES].forEach(name => {
    color[name] = style.getPropertyValue("--" + name).trim();
  });
  const rgb = NAMES.map(name => [1, 3, 5].map(at => parseInt(color[name].slice(at, at + 2), 16)));
  sheet = document.createElement("canvas");
  sheet.width = sheet.height = Math.max(N, 1);
  const image = sheet.getContext("2d").createImageData(sheet.width, sheet.height);
  const pixels = new Uint32Array(image.data.buffer);
  const value = rgb.map(([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0);
  for (let k = 0; k < cells.length; k++) pixels[k] = value[cells[k]];
  sheet.getContext("2d").putImageData(image, 0, 0);
  const tools = $("tools");
  tools.replaceChildren();
  [["up", "Established", FINE], ["down", "not Established", BAD], ["half", "one side only", HALF],
   ["extra", "wanted by nobody", WILD], ["mute", "its minion gave no answer", MUTE]].forEach(([name, text, which]) => {
    if (which > BAD && !cells.includes(which)) return;
    const entry = make("span"), box = make("i");
    box.style.background = color[name];
    entry.append(box, document.createTextNode(text));
    tools.append(entry);
  });
  const buttons = make("span", "push");
  const button = (text, label, act) => {
    const made = make("button", "", text);
    made.setAttribute("aria-label", label); made.title = label;
    made.addEventListener("click", act);
    buttons.append(made, document.createTextNode(" "));
    return made;
  };
  if (N <= 4 * D.ring && N > 1) button(ring ? "as a matrix" : "as a ring", "change the picture", () => { ring = !ring; paint(); draw(); });
  if (!ring) {
    button("+", "closer", () => closer(1.6)); button("−", "farther", () => closer(1 / 1.6));
    button("all", "show all", () => { zoom = 1; left = top_ = 0; draw(); });
  }
  tools.append(buttons);
}
function measure() {
  const box = $("stage").getBoundingClientRect(), scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(box.width * scale)); canvas.height = Math.max(1, Math.round(box.height * scale));
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  return box;
}
let area = { x: 0, y: 0, size: 1 };
function draw() {
  const box = measure();
  pen.clearRect(0, 0, box.width, box.height);
  if (!N) return;
  if (ring) drawRing(box); else drawMatrix(box);
}
const FONT = size => size + "px system-ui, 'DejaVu Sans', sans-serif";
const short = (text, letters) => text.length > letters ? text.slice(0, letters - 1) + "…" : text;
function labelled() {   // is there room for a name in each row?
  return area.size * zoom / N >= 11;
}
function drawMatrix(box) {
  const longest = Math.min(22, Math.max(...D.names.map(name => name.length)));
  let gutter = 30;
  const before = area.size;
  for (let pass = 0; pass < 2; pass++) {
    const size = Math.max(40, Math.min(box.width - gutter - 16, box.height - gutter - 10));
    area = { x: gutter + Math.max(0, (box.width - gutter - 16 - size) / 2), y: gutter, size };
    if (labelled()) gutter = Math.min(170, longest * 6.6 + 18); else break;
  }
  // What is shown stays where it is when the window changes.
  left *= area.size / before; top_ *= area.size / before;
  const step = area.size * zoom / N;
  const limit = area.size * (zoom - 1);
  left = Math.min(Math.max(left, 0), limit); top_ = Math.min(Math.max(top_, 0), limit);
  const X = j => area.x + j * step - left, Y = i => area.y + i * step - top_;
  pen.save();
  pen.beginPath(); pen.rect(area.x, area.y, area.size, area.size); pen.clip();
  pen.imageSmoothingEnabled = step < 1;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(sheet, X(0), Y(0), step * N, step * N);
  if (step >= 6) {
    pen.strokeStyle = color.group; pen.lineWidth = Math.min(2, step / 8);
    pen.beginPath();
    const from = Math.floor(Math.min(left, top_) / step), to = Math.min(N, Math.ceil((Math.max(left, top_) + area.size) / step));
    for (let k = Math.max(0, from); k <= to; k++) { pen.moveTo(X(k), area.y); pen.lineTo(X(k), area.y + area.size); pen.moveTo(area.x, Y(k)); pen.lineTo(area.x + area.size, Y(k)); }
    pen.stroke();
  }
  pen.strokeStyle = color.group; pen.lineWidth = 1;
  if (groups.length < N / 2) {
    pen.beginPath();
    groups.slice(1).forEach(group => { pen.moveTo(X(group.start), area.y); pen.lineTo(X(group.start), area.y + area.size); pen.moveTo(area.x, Y(group.start)); pen.lineTo(area.x + area.size, Y(group.start)); });
    pen.stroke();
  }
  // What is bad is never smaller than can be seen.
  pen.fillStyle = color.mute;
  for (let i = 0; i < D.count && step < 2; i++) if (!told[i]) {
    pen.fillRect(area.x, Y(i + .5) - 1, area.size, 2); pen.fillRect(X(i + .5) - 1, area.y, 2, area.size);
  }
  const least = worst.length > 4000 ? 1.2 : 3.5;
  if (step < least && worst.length < 120000) {
    const grow = (least - step) / 2;
    [WILD, HALF, BAD].forEach(kind => {
      pen.fillStyle = color[NAMES[kind]];
      for (const k of worst) {
        if (cells[k] !== kind) continue;
        const i = k / N | 0, j = k % N;
        pen.fillRect(X(j) - grow, Y(i) - grow, least, least);
      }
    });
  }
  const cross = (i, alpha) => {   // beside the line, so that it hides nothing
    const half = Math.max(step / 2, 2.5);
    pen.strokeStyle = color.mark; pen.lineWidth = 1; pen.globalAlpha = alpha;
    pen.strokeRect(area.x - 4, Y(i + .5) - half, area.size + 8, 2 * half); pen.strokeRect(X(i + .5) - half, area.y - 4, 2 * half, area.size + 8);
    pen.globalAlpha = 1;
  };
  if (marked.size > 1 && marked.size <= 8 && other < 0) marked.forEach(i => cross(i, .45));
  if (picked >= 0 && other < 0) cross(picked, 1);
  if (picked >= 0 && other >= 0) for (const [i, j] of [[picked, other], [other, picked]]) {
    pen.strokeStyle = color.mark; pen.lineWidth = 2;
    pen.beginPath(); pen.arc(X(j + .5), Y(i + .5), Math.max(9, step * .8), 0, 7); pen.stroke();
  }
  if (hover) {
    pen.strokeStyle = color.ink; pen.globalAlpha = .55; pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(X(hover.j + .5), area.y); pen.lineTo(X(hover.j + .5), area.y + area.size);
    pen.moveTo(area.x, Y(hover.i + .5)); pen.lineTo(area.x + area.size, Y(hover.i + .5)); pen.stroke(); pen.globalAlpha = 1;
  }
  pen.restore();
  pen.strokeStyle = color.line; pen.lineWidth = 1; pen.strokeRect(area.x - .5, area.y - .5, area.size + 1, area.size + 1);
  marked.forEach(i => {
    const y = Y(i + .5), x = X(i + .5);
    pen.fillStyle = color.mark; pen.beginPath();
    if (y >= area.y && y <= area.y + area.size) { pen.moveTo(area.x - 1, y); pen.lineTo(area.x - 7, y - 3); pen.lineTo(area.x - 7, y + 3); }
    if (x >= area.x && x <= area.x + area.size) { pen.moveTo(x, area.y + area.size + 1); pen.lineTo(x - 3, area.y + area.size + 7); pen.lineTo(x + 3, area.y + area.size + 7); }
    pen.fill();
  });
  // Beside the rows and above the columns: how much of each is bad, so that no single one is lost.
  for (let i = 0; i < N; i++) {
    if (!ill(i)) continue;
    const y = Y(i + .5), x = X(i + .5), thick = Math.max(1.6, step);
    const length = blame[i] ? 4 + 8 * Math.sqrt(blame[i] / Math.max(wanted[i], 1)) : 6;
    pen.fillStyle = blame[i] ? color.down : color.mute;
    if (y >= area.y && y <= area.y + area.size) pen.fillRect(area.x + area.size + 3, y - thick / 2, length, thick);
    if (x >= area.x && x <= area.x + area.size) pen.fillRect(x - thick / 2, area.y - 2 - length, thick, length);
  }
  pen.fillStyle = color.soft; pen.textBaseline = "middle"; pen.font = FONT(11);
  if (labelled()) {
    for (let i = 0; i < N; i++) {
      const y = Y(i + .5), x = X(i + .5);
      pen.fillStyle = ill(i) ? color.down : color.soft;
      pen.font = (i === picked || i === other ? "bold " : "") + FONT(11);
      if (y > area.y && y < area.y + area.size) { pen.textAlign = "right"; pen.fillText(short(D.names[i], 24), area.x - 7, y); }
      if (x > area.x && x < area.x + area.size) { pen.save(); pen.translate(x, area.y - 15); pen.rotate(-Math.PI / 2); pen.textAlign = "left"; pen.fillText(short(D.names[i], 22), 0, 0); pen.restore(); }
    }
  } else {
    let last = -100, lastX = -100;
    groups.forEach(group => {
      const y = Y((group.start + group.end) / 2), x = X((group.start + group.end) / 2);
      if (y > area.y && y < area.y + area.size && y - last > 34) {
        last = y; pen.save(); pen.translate(area.x - 12, y); pen.rotate(-Math.PI / 2); pen.textAlign = "center"; pen.fillText(short(group.name, 16), 0, 0); pen.restore();
      }
      if (x > area.x && x < area.x + area.size && x - lastX > 8 + Math.min(16, group.name.length) * 7) { lastX = x; pen.textAlign = "center"; pen.fillText(short(group.name, 16), x, area.y - 21); }
    });
  }
}
let spots = [];
function drawRing(box) {
  const size = Math.min(box.width, box.height), cx = box.width / 2, cy = box.height / 2;
  const radius = Math.max(60, size / 2 - Math.min(110, size * .17));
  spots = D.names.map((_, i) => { const turn = 2 * Math.PI * i / N - Math.PI / 2; return [cx + radius * Math.cos(turn), cy + radius * Math.sin(turn), turn]; });
  const chord = (i, j, style, width, dash) => {
    pen.strokeStyle = style; pen.lineWidth = width; pen.setLineDash(dash || []);
    const [x1, y1] = spots[i], [x2, y2] = spots[j];
    const bend = N > 3 ? .35 : 0;
    pen.beginPath(); pen.moveTo(x1, y1);
    pen.quadraticCurveTo((x1 + x2) / 2 * (1 - bend) + cx * bend, (y1 + y2) / 2 * (1 - bend) + cy * bend, x2, y2);
    pen.stroke(); pen.setLineDash([]);
  };
  const near = i => hover && hover.i === i || picked === i || marked.has(i);
  for (const bad of [false, true]) for (let i = 0; i < N; i++) for (let j = i + 1; j < N; j++) {
    const one = cells[i * N + j], two = cells[j * N + i];
    if (one === BLANK && two === BLANK) continue;
    const kind = [BAD, HALF, WILD, MUTE, FINE].find(c => one === c || two === c);
    const half = kind === HALF || kind === BAD && (up(codes[i * N + j]) || up(codes[j * N + i]));
    const worse = kind !== FINE && kind !== MUTE;
    if (worse !== bad) continue;
    pen.globalAlpha = worse || near(i) || near(j) ? 1 : N > 12 ? .55 : 1;
    chord(i, j, worse ? color[half ? "half" : NAMES[kind]] : near(i) || near(j) ? color.soft : color[NAMES[kind]],
      worse ? 3 : N > 20 ? 1 : 2.2, half ? [9, 5] : worse ? [] : kind === MUTE ? [3, 4] : []);
    pen.globalAlpha = 1;
  }
  const dot = N > 24 ? 6 : 10;
  D.names.forEach((name, i) => {
    const [x, y, turn] = spots[i];
    const silent = i < D.count && !told[i];
    pen.beginPath(); if (i >= D.count) pen.rect(x - dot * .8, y - dot * .8, dot * 1.6, dot * 1.6); else pen.arc(x, y, dot, 0, 7);
    pen.fillStyle = silent ? color.paper : sick.has(i) || ill(i) && !blame[i] ? color.down : color.up;
    pen.fill(); pen.lineWidth = picked === i ? 3 : 2; pen.strokeStyle = picked === i ? color.mark : ill(i) ? color.down : color.soft; pen.stroke();
    pen.font = (near(i) ? "bold " : "") + FONT(N > 24 ? 11 : 13); pen.fillStyle = ill(i) ? color.down : color.ink; pen.textBaseline = "middle";
    const across = Math.cos(turn), far = dot + 7;
    pen.textAlign = Math.abs(across) < .2 ? "center" : across > 0 ? "left" : "right";
    pen.fillText(short(name, 26), x + far * across, y + Math.sin(turn) * (far + (Math.abs(across) < .2 ? 6 : 0)));
  });
}
function bring(i, j) {
  if (ring || zoom <= 1) return;
  const step = area.size * zoom / N;
  left = (j + .5) * step - area.size / 2; top_ = (i + .5) * step - area.size / 2;
}
function closer(factor, x = area.x + area.size / 2, y = area.y + area.size / 2) {
  const now = Math.min(Math.max(zoom * factor, 1), Math.max(1, 28 * N / area.size));
  left = (left + x - area.x) * now / zoom - (x - area.x); top_ = (top_ + y - area.y) * now / zoom - (y - area.y);
  zoom = now; draw();
}
function under(event) {
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  if (ring) {
    let best = null, least = 26;
    spots.forEach(([sx, sy], i) => { const far = Math.hypot(sx - x, sy - y); if (far < least) { least = far; best = { i, j: i }; } });
    if (best) return best;
    // The nearest bad session.
    least = 9;
    for (let i = 0; i < N; i++) for (let j = i + 1; j < N; j++) {
      if (cells[i * N + j] === BLANK && cells[j * N + i] === BLANK) continue;
      const bend = N > 3 ? .35 : 0, cx = canvas.clientWidth / 2, cy = canvas.clientHeight / 2;
      const [x1, y1] = spots[i], [x2, y2] = spots[j];
      const mx = (x1 + x2) / 2 * (1 - bend) + cx * bend, my = (y1 + y2) / 2 * (1 - bend) + cy * bend;
      for (let t = .06; t < .95; t += .04) {
        const px = (1 - t) * (1 - t) * x1 + 2 * t * (1 - t) * mx + t * t * x2, py = (1 - t) * (1 - t) * y1 + 2 * t * (1 - t) * my + t * t * y2;
        const far = Math.hypot(px - x, py - y);
        if (far < least) { least = far; best = { i, j }; }
      }
    }
    return best;
  }
  const step = area.size * zoom / N;
  const j = Math.floor((x - area.x + left) / step), i = Math.floor((y - area.y + top_) / step);
  if (x < area.x - 170 || y < area.y - 170 || x > area.x + area.size + 14 || y > area.y + area.size) return null;
  if (x < area.x || x > area.x + area.size) return i >= 0 && i < N && y >= area.y ? { i, j: i } : null;
  if (y < area.y) return j >= 0 && j < N ? { i: j, j } : null;
  if (i < 0 || j < 0 || i >= N || j >= N) return null;
  // Hard to hit at one pixel each: the nearest bad session within three pixels is meant.
  if (step < 4) {
    const reach = Math.ceil(3 / step);
    let best = null, least = 1e9;
    for (let a = Math.max(0, i - reach); a <= Math.min(N - 1, i + reach); a++) for (let b = Math.max(0, j - reach); b <= Math.min(N - 1, j + reach); b++) {
      const c = cells[a * N + b], far = (a - i) ** 2 + (b - j) ** 2;
      if ((c === BAD || c === HALF || c === WILD) && far < least) { least = far; best = { i: a, j: b }; }
    }
    if (best) return best;
  }
  return { i, j };
}
function show(event) {
  tip.style.display = hover ? "block" : "none";
  if (!hover) return;
  const { i, j } = hover;
  tip.replaceChildren();
  if (i === j) {
    tip.append(make("b", "", D.names[i]), make("div", "", i < D.count && !told[i] ? "its minion gave no answer"
      : wrong[i] ? wrong[i] + " of " + wanted[i] + " sessions are bad" : wanted[i] + " sessions, all good"));
  } else {
    tip.append(make("b", "", D.names[i] + " – " + D.names[j]));
    const lines = cells[i * N + j] === BLANK && cells[j * N + i] === BLANK ? ["no session, and none is wanted"] : [says(i, j), says(j, i)];
    lines.filter(Boolean).forEach(line => tip.append(make("div", "", line)));
  }
  const box = $("stage").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const wide = tip.offsetWidth, high = tip.offsetHeight;
  tip.style.left = Math.max(0, Math.min(x + 16, box.width - wide)) + "px";
  tip.style.top = (y + 18 + high > box.height ? Math.max(0, y - high - 12) : y + 18) + "px";
}
let drag = null;
canvas.addEventListener("pointerdown", event => { drag = { x: event.clientX, y: event.clientY, left, top_, moved: false }; canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener("pointermove", event => {
  if (drag && zoom > 1 && !ring && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4) {
    drag.moved = true; left = drag.left - (event.clientX - drag.x); top_ = drag.top_ - (event.clientY - drag.y); hover = null; tip.style.display = "none"; draw(); return;
  }
  hover = under(event); draw(); show(event);
});
canvas.addEventListener("pointerup", event => {
  const moved = drag && drag.moved; drag = null;
  if (moved) return;
  const at = under(event);
  picked = at ? at.i : -1; other = at && at.j !== at.i ? at.j : -1;
  describe(); if (at) $("scroll").scrollTop = 0; draw();
});
canvas.addEventListener("pointerleave", () => { hover = null; tip.style.display = "none"; draw(); });
canvas.addEventListener("wheel", event => {
  if (ring) return;
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  closer(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
document.addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== filter) { event.preventDefault(); filter.focus(); filter.select(); }
  if (event.key === "Escape") { reset(); filter.blur(); }
  if (document.activeElement === filter || ring && event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  if (event.key === "+" || event.key === "=") closer(1.6);
  if (event.key === "-") closer(1 / 1.6);
  const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (move && document.activeElement === canvas) {
    event.preventDefault();
    if (ring) return pick((picked + move[1] + N) % N);
    const i = Math.min(N - 1, Math.max(0, (picked < 0 ? 0 : picked) + move[0]));
    const j = Math.min(N - 1, Math.max(0, (other < 0 ? i : other) + move[1]));
    picked = i; other = j === i ? -1 : j; bring(i, j); describe(); draw();
    hover = { i, j }; const step = area.size * zoom / N, box = $("stage").getBoundingClientRect();
    show({ clientX: box.left + area.x + (j + .5) * step - left, clientY: box.top + area.y + (i + .5) * step - top_ }); draw();
  }
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); draw(); });
window.addEventListener("resize", draw);
paint(); draw();
document.documentElement.dataset.ready = Math.round(performance.now());
</script>
</body>
</html>
"""
