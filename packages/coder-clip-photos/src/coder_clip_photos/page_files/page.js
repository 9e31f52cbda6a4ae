"use strict";
// Texts from people and files only ever become text nodes, never HTML.

const FIRST = 60; // photos shown before "Show more"
const SOME = 12; // photos of a group shown before "Show more"
const WAIT = 200; // milliseconds without a key before photos are classified again
const $ = (id) => document.getElementById(id);
let state, view = "", shown = FIRST, asked = 0, tried = null;
let opened = null; // the photo whose details were opened last
let repeated = ""; // a text that a class has twice, which changes nothing
let largest = Infinity; // bytes of a photo that the server takes
let found = null; // a search: its words and the score of each photo
let alike = null; // groups of photos that are nearly the same, and of those with different labels
let comparing = null; // the search for these, while it goes on
let unfolded = {}; // how many photos of a group are shown, where it is not SOME

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
const grouped = (n) => n.toLocaleString("en");
const count = (n, thing) => `${grouped(n)} ${thing}${n === 1 ? "" : "s"}`;
const before = (p) => `${p.margin.toFixed(2)} points ahead of ${p.other}`;
const points = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(1)}`;

function answer() {
  const line = $("answer");
  line.replaceChildren();
  effect(line);
  if (repeated) line.append(` “${repeated}” is there already, so this text changes nothing.`);
}

function effect(line) {
  if (!state.labelled) {
    line.append(`${count(state.images, "photo")} without labels. `);
    if (edited()) line.append(`Your texts change the class of ${state.changed ? grouped(state.changed) : "no photo"}.`);
    return;
  }
  const { accuracy: a, difference: d } = state;
  line.append(make("strong", {}, `${percent(a.value)} of ${count(state.images, "photo")} right`),
    ` (95 % interval ${percent(a.low)} to ${percent(a.high)}). `);
  if (!edited()) return;
  if (!d.fixed && !d.broke) {
    const changed = state.changed ? `the class of ${count(state.changed, "photo")}, but put none` : "no class, so they put no photo";
    line.append(`Your texts change ${changed} right or wrong.`);
    return;
  }
  const { low, high, value } = d.difference, { verdict, tried } = state;
  const said = verdict ? `clearly ${verdict}` : "no clear difference";
  line.append(make("span", { className: { better: "good", worse: "bad" }[verdict] ?? "" },
    `Your texts: ${points(value)} points [${points(low)}, ${points(high)}], ${count(d.fixed, "photo")} put right, ${grouped(d.broke)} put wrong: ${said}.`),
    ` The interval is corrected for the ${count(tried, "text set")} that you tried. Validation images choose texts; the test images of the next run judge them.`);
}

const edited = () => JSON.stringify(state.texts) !== JSON.stringify(state.first_texts);

// ---- the gallery

// What can be shown: its name, its title, and its entries: a photo with a line about it, or a group of these.
function views() {
  const photos = [...state.photos].sort((a, b) => a.margin - b.margin);
  const list = (keep) => photos.filter(keep).map((p) => ({ photo: p, note: before(p) }));
  const wanted = [["uncertain", "Least certain", list(() => true)], ["changed", "Changed by your texts", list((p) => p.changed)]];
  if (state.labelled) wanted.unshift(["errors", "Errors", list((p) => !p.right)]);
  wanted.push(["classes", "By class", by_class(photos)]);
  if (found) {
    const order = [...state.photos].sort((a, b) => found.scores[b.id] - found.scores[a.id]);
    wanted.push(["found", found.words, order.map((p) => ({ photo: p, note: `score ${found.scores[p.id].toFixed(1)}` }))]);
  }
  if (alike) {
    wanted.push(["alike", "Most alike", alike.groups.map(same)]);
    if (state.labelled) wanted.push(["different", "Alike, with different labels", alike.different.map(same)]);
  }
  return wanted;
}

// A group per class that a photo got, in the order of the classes.
function by_class(photos) {
  const groups = new Map(state.texts.map((c) => [c.name, []]));
  for (const p of photos) groups.get(p.label).push({ photo: p, note: before(p) });
  return [...groups].filter(([, members]) => members.length).map(([name, members]) =>
    ({ key: `class ${name}`, title: `${name} (${count(members.length, "photo")})`, members }));
}

// A group of photos that are nearly the same; the file names tell them apart.
function same({ photos, least, largest }) {
  const cosines = least === largest ? least.toFixed(3) : `${least.toFixed(3)} to ${largest.toFixed(3)}`;
  const members = photos.map((id) => ({ photo: state.photos[id], note: state.photos[id].name.split("/").slice(-2).join("/") }));
  return { key: `same ${photos[0]}`, title: `${count(photos.length, "photo")}, cosine ${cosines}`, members };
}

function choose(name) {
  view = name;
  shown = FIRST;
  unfolded = {};
  gallery();
}

function gallery() {
  const all = views(), [, , entries] = all.find(([name]) => name === view);
  const { filter: focused, photo: card_before } = document.activeElement?.dataset ?? {};
  const buttons = all.map(([name, title, list]) =>
    make("button", { type: "button", "aria-pressed": String(view === name), "data-filter": name, onclick: () => choose(name) },
      `${title} (${grouped(list.length)})`));
  if (!alike) {
    const title = comparing ? "Stop comparing" : "Photos that are nearly the same";
    buttons.push(make("button", { type: "button", id: "pairs", "data-filter": "pairs", onclick: compare }, title));
  }
  $("filters").replaceChildren(...buttons);
  buttons.find((b) => focused && b.dataset.filter === focused)?.focus();
  $("gallery").replaceChildren(...entries.slice(0, shown).map((entry) => (entry.photo ? item(entry) : group(entry))));
  if (!entries.length) $("gallery").append(make("li", { className: "none quiet" }, "None."));
  if (view === "classes") $("gallery").append(...without_photos(entries));
  $("order").hidden = !["alike", "different"].includes(view);
  $("more").hidden = entries.length <= shown;
  if (card_before) focus_card(card_before);
}

const item = ({ photo, note }) => make("li", {}, card(photo), make("span", { className: "quiet" }, note));

function group({ key, title, members }) {
  const some = unfolded[key] ?? SOME;
  const parts = [make("h3", {}, title), make("ul", { className: "photos" }, ...members.slice(0, some).map(item))];
  if (members.length > some) {
    const unfold = () => {
      unfolded[key] = some + FIRST;
      gallery();
      focus_card(members[some].photo.id);
    };
    parts.push(make("button", { type: "button", onclick: unfold }, `Show more of ${title}`));
  }
  return make("li", { className: "group" }, ...parts);
}

// The classes that no photo got, which have no group.
function without_photos(groups) {
  const some = new Set(groups.map(({ key }) => key));
  const none = state.texts.filter((c) => !some.has(`class ${c.name}`)).map((c) => c.name);
  return none.length ? [make("li", { className: "none quiet" }, `No photo: ${none.join(", ")}.`)] : [];
}

// Put the keyboard on a photo of the gallery or, where it is not shown, on the view.
function focus_card(id) {
  const card = document.querySelector(`#gallery [data-photo="${id}"]`);
  (card ?? document.querySelector(`[data-filter="${view}"]`))?.focus();
}

function card(p) {
  const verdict = p.truth === null ? p.label : p.right ? `${p.label}, right` : `${p.label}, but it is ${p.truth}`;
  const lines = [p.changed ? `was ${p.before}` : "", p.corrected === null ? "" : corrected(p)];
  return make("button", { className: "card", type: "button", title: p.name, "data-photo": String(p.id), onclick: () => open(p) },
    make("img", { src: `thumbnail/${p.id}`, alt: p.name, loading: "lazy" }),
    make("span", { className: p.right === false ? "bad" : "" }, verdict),
    ...lines.filter((line) => line).map((line) => make("span", { className: "quiet" }, line)));
}

const corrected = (p) => (p.corrected ? `next run: ${p.corrected}` : "next run: left out");

// Look for photos that are nearly the same. The server goes on only as long as it is asked, so this can be stopped.
async function compare() {
  const mine = comparing ? null : {};
  comparing = mine;
  $("comparing").hidden = !comparing;
  $("compare-error").textContent = "";
  gallery();
  try {
    while (mine && comparing === mine) {
      const { compared, groups, different } = await ask("alike");
      if (comparing !== mine) return; // it was stopped, and perhaps started again
      $("compared").value = compared / state.images;
      $("how-far").textContent = `${grouped(compared)} of ${count(state.images, "photo")} compared`;
      if (groups) {
        comparing = null;
        $("comparing").hidden = true;
        alike = { groups, different };
        const here = document.activeElement?.id === "pairs" || document.activeElement === document.body;
        choose("alike");
        if (here) $("filters").querySelector("[data-filter=alike]").focus();
      }
    }
  } catch (error) {
    comparing = null;
    $("comparing").hidden = true;
    gallery();
    $("compare-error").textContent = error.message;
  }
}

async function search(plus, minus) {
  try {
    found = { words: `Like “${plus}”${minus ? `, not “${minus}”` : ""}`, scores: await post("like", { plus, minus }) };
    $("searched").textContent = "";
    choose("found");
  } catch (error) {
    $("searched").textContent = error.message;
  }
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
  const line = `Score ${photo.score.toFixed(1)}; ${before(photo)} (${photo.other_score.toFixed(1)}).`;
  return make("div", { className: "photo" }, image, make("div", {},
    make("p", {}, line),
    ...reasons(`For ${photo.label}, against ${photo.other}`, photo.for, photo, largest),
    ...reasons(`Against ${photo.label}, for ${photo.other}`, photo.against, photo, largest),
    ...(two ? [make("h3", {}, `The rerank decides: ${two.label}`),
      ...reasons(`What tells ${two.label} from the other candidates`, two.for, two, strongest(two)),
      ...reasons(`Against ${two.label}`, two.against, two, strongest(two))] : [])));
}

async function open(p) {
  opened = p.id;
  const image = make("img", { src: `photo/${p.id}`, alt: p.name });
  $("details-title").textContent = p.truth === null || p.right ? p.label : `${p.label}, but it is ${p.truth}`;
  $("details-body").replaceChildren("…");
  $("details").showModal();
  try {
    const photo = await ask(`why/${p.id}`);
    $("details-body").replaceChildren(make("p", { className: "quiet" }, p.name), explained(photo, image), ...label(p));
  } catch (error) {
    $("details-body").replaceChildren(make("p", { className: "bad" }, error.message));
  }
}

// The true class of a photo, to be corrected.
function label(p) {
  if (p.truth === null) return [];
  if (!state.corrects) return [make("p", { className: "quiet" }, `The label is ${p.truth}; ${state.labels_fixed_because}.`)];
  const options = [...state.texts.map((c) => [c.name, c.name]), ["", "none of these: leave the photo out"]];
  const select = make("select", { "aria-label": "True class" }, ...options.map(([value, text]) => make("option", { value }, text)));
  select.value = p.corrected ?? p.truth;
  const { file, advice } = state.corrects, said = make("p", { role: "status" });
  const save = async (event) => {
    event.preventDefault();
    try {
      update(await post(`correct/${p.id}`, { to: select.value }));
      const now = state.photos[p.id];
      said.replaceChildren(now.corrected === null ? `The label stays ${now.truth}.` : `Saved in ${file}; ${corrected(now)}.`,
        ...(now.corrected !== null && advice ? [` ${advice} `, make("code", {}, `corrections: ${file}`)] : []));
    } catch (error) {
      said.replaceChildren(make("span", { className: "bad" }, error.message));
    }
  };
  return [make("h3", {}, "Is the label wrong?"),
    make("form", { className: "correct", onsubmit: save }, select, make("button", { type: "submit" }, "Correct the label"), said,
      make("p", { className: "hint" }, "Go by what the photo shows, not by the class that was found: otherwise accuracy rises without a better text. The photo stays where it is."))];
}

function dropped(file) {
  if (!file) return;
  if (file.size > largest) {
    // the server would close the connection in the middle of it
    const most = `at most ${Math.floor(largest / 2 ** 20)} MB can be dropped here; coder-clip classify takes any`;
    $("dropped").replaceChildren(make("p", { className: "bad" }, `${file.name} is too large: ${most}.`));
    return;
  }
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
    const texts = state.kinds.reduce((n, kind) => n + c[kind].length, 0);
    box.append(make("summary", {}, make("strong", {}, c.name), ` (${count(texts, "text")})`));
    for (const kind of state.kinds) {
      const noun = kind === "analogous" ? "analogous class" : kind;
      const list = make("div", { role: "group", "aria-label": `${kind} texts of ${c.name}` });
      c[kind].forEach((text) => list.append(row(i, kind, text)));
      box.append(make("h3", {}, kind), list,
        make("button", { type: "button", onclick: () => {
          const added = row(i, kind, "");
          list.append(added);
          added.querySelector("input").focus();
        } }, `Add ${kind === "synonym" ? "a" : "an"} ${noun}`));
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

// A text that a class has twice in one kind; "" if there is none.
function twice(classes) {
  for (const c of classes)
    for (const kind of state.kinds) {
      const texts = c[kind].map((text) => text.trim().replace(/\s+/g, " ")).filter((text) => text);
      const again = texts.find((text, i) => texts.indexOf(text) < i);
      if (again) return again;
    }
  return "";
}

async function edit() {
  clearTimeout(timer);
  const now = state.texts.map((c) => ({ name: c.name, ...Object.fromEntries(state.kinds.map((k) => [k, []])) }));
  for (const input of document.querySelectorAll("#texts input")) now[input.dataset.class][input.dataset.kind].push(input.value);
  const number = ++asked;
  repeated = twice(now);
  try {
    const found = await post("texts", now);
    if (number !== asked) return; // an answer to what was typed before is out of date
    update(found);
    look();
  } catch (error) {
    if (number === asked) $("answer").replaceChildren(make("span", { className: "bad" }, error.message));
  }
}

function update(now) {
  state = now;
  answer();
  gallery();
  for (const box of document.querySelectorAll("details.class")) {
    const texts = [...box.querySelectorAll("input")].filter((input) => input.value.trim()).length;
    box.querySelector("summary").lastChild.textContent = ` (${count(texts, "text")})`;
  }
}

// ---- the start

async function start() {
  try {
    state = await ask("state");
    largest = state.largest;
  } catch (error) {
    $("answer").replaceChildren(make("span", { className: "bad" }, error.message));
    return;
  }
  view = views()[0][0];
  $("of-errors").hidden = !state.labelled;
  document.title = state.title;
  $("title").textContent = state.title;
  $("advice").textContent = `${state.advice} ${state.shows}`;
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
$("details").addEventListener("close", () => {
  // a correction has made all photos of the gallery new, so the browser found nothing to go back to
  if (!document.activeElement?.dataset?.photo) focus_card(opened);
});
$("more").addEventListener("click", () => { shown += FIRST; gallery(); });
$("undo").addEventListener("click", () => { state.texts = state.first_texts; texts(); edit(); });
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search($("plus").value.trim(), $("minus").value.trim());
});
$("save").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { path } = await post("save", { name: $("save-name").value.trim() });
    $("saved").textContent = `Saved: ${path}. A run uses it with texts: and this file in its configuration, classify with --texts.`;
    $("saved").className = "good";
  } catch (error) {
    $("saved").textContent = error.message;
    $("saved").className = "bad";
  }
});
start();
