"use strict";
// Texts from people and files only ever become text nodes, never HTML.

const FIRST = 60; // photos shown before "Show more"
const WAIT = 200; // milliseconds without a key before photos are classified again
const $ = (id) => document.getElementById(id);
let state, filter = "", shown = FIRST, asked = 0, tried = null;

function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name === "className" ? "class" : name, value);
  }
  element.append(...children);
  return element;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("coder-clip explore has ended: start it again in the terminal");
  }
  const found = await answer.json().catch(() => ({ error: `the page answers ${answer.status}` }));
  if (!answer.ok) throw new Error(found.error);
  return found;
}

const post = (path, document) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(document) });
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const points = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(1)}`;

function answer() {
  const line = $("answer");
  line.replaceChildren();
  if (!state.labelled) {
    line.append(`${state.images} photos without labels. `);
    line.append(state.changed ? `Your texts change the class of ${state.changed}.` : "Those at the top are the least certain.");
    return;
  }
  const { accuracy: a, difference: d } = state;
  line.append(make("strong", {}, `${percent(a.value)} of ${state.images} photos right`),
    ` (95 % interval ${percent(a.low)} to ${percent(a.high)}). `);
  if (!edited()) return;
  if (!d.fixed && !d.broke) {
    line.append("Your texts put no photo right or wrong.");
    return;
  }
  const { low, high, value } = d.difference, { verdict, tried } = state;
  const said = verdict ? `clearly ${verdict}` : "no clear difference";
  line.append(make("span", { className: { better: "good", worse: "bad" }[verdict] ?? "" },
    `Your texts: ${points(value)} points [${points(low)}, ${points(high)}], ${d.fixed} photos put right, ${d.broke} put wrong: ${said}.`),
    ` The interval is corrected for the ${tried} text ${tried === 1 ? "set" : "sets"} that you tried; the next run decides, on test images.`);
}

const edited = () => JSON.stringify(state.texts) !== JSON.stringify(state.first_texts);

// ---- the gallery

function kinds() {
  const wanted = [["uncertain", "Least certain", () => true], ["changed", "Changed by your texts", (p) => p.changed]];
  return state.labelled ? [["errors", "Errors", (p) => !p.right], ...wanted] : wanted;
}

function filters() {
  const buttons = kinds().map(([name, title, keep]) =>
    make("button", { type: "button", "aria-pressed": String(filter === name), "data-filter": name,
      onclick: () => { filter = name; shown = FIRST; filters(); gallery(); } },
      `${title} (${state.photos.filter(keep).length})`));
  const focused = document.activeElement?.dataset?.filter;
  $("filters").replaceChildren(...buttons);
  buttons.find((b) => focused && b.dataset.filter === focused)?.focus();
}

function gallery() {
  const [, , keep] = kinds().find(([name]) => name === filter);
  const found = state.photos.filter(keep).sort((a, b) => a.margin - b.margin);
  $("gallery").replaceChildren(...found.slice(0, shown).map((p) => {
    const verdict = p.truth === null ? p.label : p.right ? `${p.label}, right` : `${p.label}, but it is ${p.truth}`;
    const was = p.changed ? make("span", { className: "quiet" }, `was ${p.before}`) : "";
    return make("li", {}, make("button", { type: "button", title: p.name, onclick: () => open(p) },
      make("img", { src: `thumbnail/${p.id}`, alt: p.name, loading: "lazy" }),
      make("span", { className: p.right === false ? "bad" : "" }, verdict), was,
      make("span", { className: "quiet" }, `${p.margin.toFixed(1)} points before ${p.runner_up}`)));
  }));
  if (!found.length) $("gallery").append(make("li", { className: "quiet" }, "None."));
  $("more").hidden = found.length <= shown;
}

// ---- one photo and its reasons

function reasons(title, list, photo, largest) {
  if (!list.length) return [];
  const rows = list.map((r) => {
    const fits = (r.adds > 0) === (r.label === photo.label) ? "fits well" : "fits badly";
    const bar = make("div", { className: "bar", "aria-hidden": "true" });
    bar.style.width = `${(100 * Math.abs(r.adds)) / largest}%`;
    return make("li", { className: r.adds > 0 ? "good" : "bad" },
      make("span", { className: "number" }, `${r.adds > 0 ? "+" : "−"}${Math.abs(r.adds).toFixed(2)}`),
      make("span", {}, `${r.label}: “${r.text}” ${fits} `, make("span", { className: "quiet" }, `(${r.kind})`)), bar);
  });
  return [make("h3", {}, title), make("ul", { className: "reasons" }, ...rows)];
}

function explained(photo, image) {
  const strongest = (of) => Math.max(...[...of.for, ...of.against].map((r) => Math.abs(r.adds)), 1e-9);
  const largest = strongest(photo), two = photo.reranked;
  const line = `Score ${photo.score.toFixed(1)}; ${photo.margin.toFixed(2)} points before ${photo.other} (${photo.other_score.toFixed(1)}).`;
  return make("div", { className: "photo" }, image, make("div", {},
    make("p", {}, line),
    ...reasons(`For ${photo.label}, against ${photo.other}`, photo.for, photo, largest),
    ...reasons(`Against ${photo.label}, for ${photo.other}`, photo.against, photo, largest),
    ...(two ? [make("h3", {}, `The rerank decides: ${two.label}`),
      ...reasons(`What tells ${two.label} from the other candidates`, two.for, two, strongest(two)),
      ...reasons(`Against ${two.label}`, two.against, two, strongest(two))] : [])));
}

async function open(p) {
  const image = make("img", { src: `photo/${p.id}`, alt: p.name });
  $("details-title").textContent = p.truth === null || p.right ? p.label : `${p.label}, but it is ${p.truth}`;
  $("details-body").replaceChildren("…");
  $("details").showModal();
  try {
    const photo = await ask(`why/${p.id}`);
    $("details-body").replaceChildren(make("p", { className: "quiet" }, p.name), explained(photo, image));
  } catch (error) {
    $("details-body").replaceChildren(make("p", { className: "bad" }, error.message));
  }
}

function dropped(file) {
  if (!file) return;
  tried = { file, image: make("img", { src: URL.createObjectURL(file), alt: file.name }) };
  $("dropped").replaceChildren("Looking …");
  look();
}

// The dropped photo, again after each change of the texts.
async function look() {
  const photo = tried, number = asked, place = $("dropped");
  if (!photo) return;
  const replace = (...nodes) => {
    if (photo === tried && number === asked) place.replaceChildren(...nodes);
  };
  try {
    const found = await ask("classify", { method: "POST", body: photo.file });
    replace(make("p", {}, make("strong", {}, found.label), ` (${photo.file.name})`), explained(found, photo.image));
  } catch (error) {
    replace(make("p", { className: "bad" }, error.message));
  }
}

// ---- the texts

function texts() {
  const open = new Set([...document.querySelectorAll("details.class[open]")].map((d) => d.dataset.name));
  $("texts").replaceChildren(...state.texts.map((c, i) => {
    const box = make("details", { className: "class", "data-name": c.name, "aria-label": `texts of ${c.name}` });
    box.open = open.has(c.name);
    const count = state.kinds.reduce((n, kind) => n + c[kind].length, 0);
    box.append(make("summary", {}, make("strong", {}, c.name), ` (${count} ${count === 1 ? "text" : "texts"})`));
    for (const kind of state.kinds) {
      const list = make("div", { role: "group", "aria-label": `${kind} texts of ${c.name}` });
      c[kind].forEach((text) => list.append(row(i, kind, text)));
      box.append(make("h3", {}, kind), list,
        make("button", { type: "button", onclick: () => {
          const added = row(i, kind, "");
          list.append(added);
          added.querySelector("input").focus();
        } }, `Add ${kind === "synonym" ? "a" : "an"} ${kind}`));
    }
    return box;
  }));
}

function row(i, kind, text) {
  const name = state.texts[i].name;
  const input = make("input", { type: "text", value: text, "aria-label": `${kind} of ${name}`, "data-class": String(i),
    "data-kind": kind, maxlength: "500", oninput: later });
  const line = make("div", { className: "text" }, input);
  line.append(make("button", { type: "button", "aria-label": `Remove “${text || "new text"}”`,
    onclick: () => {
      const next = line.nextElementSibling?.querySelector("input") ?? line.parentElement.nextElementSibling;
      line.remove();
      next.focus();
      edit();
    } }, "Remove"));
  return line;
}

let timer;
function later() {
  clearTimeout(timer);
  timer = setTimeout(edit, WAIT);
}

async function edit() {
  clearTimeout(timer);
  const now = state.texts.map((c) => ({ name: c.name, ...Object.fromEntries(state.kinds.map((k) => [k, []])) }));
  for (const input of document.querySelectorAll("#texts input")) now[input.dataset.class][input.dataset.kind].push(input.value);
  const number = ++asked;
  try {
    const found = await post("texts", now);
    if (number !== asked) return; // an answer to what was typed before is out of date
    update(found);
    look();
  } catch (error) {
    if (number === asked) $("answer").replaceChildren(make("span", { className: "bad" }, error.message));
  }
}

function update(found) {
  state = found;
  answer();
  filters();
  gallery();
  for (const box of document.querySelectorAll("details.class")) {
    const count = [...box.querySelectorAll("input")].filter((input) => input.value.trim()).length;
    box.querySelector("summary").lastChild.textContent = ` (${count} ${count === 1 ? "text" : "texts"})`;
  }
}

// ---- the start

async function start() {
  try {
    state = await ask("state");
  } catch (error) {
    $("answer").replaceChildren(make("span", { className: "bad" }, error.message));
    return;
  }
  filter = kinds()[0][0];
  document.title = state.title;
  $("title").textContent = state.title;
  $("advice").textContent = state.advice;
  update(state);
  texts();
}

$("file").addEventListener("change", (event) => dropped(event.target.files[0]));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // else the browser leaves the page to show the photo
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") dropped(event.dataTransfer.files[0]);
  });
$("more").addEventListener("click", () => { shown += FIRST; gallery(); });
$("undo").addEventListener("click", () => { state.texts = state.first_texts; texts(); edit(); });
$("save").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { path } = await post("save", { name: $("save-name").value.trim() });
    $("saved").textContent = `Saved: ${path}`;
    $("saved").className = "good";
  } catch (error) {
    $("saved").textContent = error.message;
    $("saved").className = "bad";
  }
});
start();
