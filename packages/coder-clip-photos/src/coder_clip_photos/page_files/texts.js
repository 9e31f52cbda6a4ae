"use strict";
// The texts and the classes: what is typed goes to the server, and so into the draft, at once.

import { $, app, change, change_or_say, count, make, on_update, post, say, update_from_elsewhere } from "./common.js";

const WAIT = 200; // milliseconds without a key before photos are classified again
let timer = null; // runs while something typed waits to be sent
let sending = Promise.resolve();
let asked = 0;
export let repeated = ""; // a text that a class has twice, which changes nothing

function texts() {
  const { state } = app;
  const open = new Set([...document.querySelectorAll("details.class[open]")].map((d) => d.dataset.name));
  $("texts").replaceChildren(...state.texts.map((c, i) => {
    const box = make("details", { className: "class", "data-name": c.name, "aria-label": `texts of ${c.name}` });
    box.open = open.has(c.name);
    box.append(make("summary", {}, make("strong", {}, c.name), said(c)));
    if (state.may_label) box.append(of_class(c.name));
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

const said = (c) => ` (${count(app.state.kinds.reduce((n, kind) => n + c[kind].filter((t) => t.trim()).length, 0), "text")})`;

// Another name for a class, or its end.
function of_class(name) {
  const field = make("input", { type: "text", value: name, "aria-label": `Name of ${name}`, maxlength: "200", "data-name-of": name });
  const rename = async (event) => {
    event.preventDefault();
    await sent();
    app.replaced = [];
    if (await change_or_say("rename-class", () => ({ name, to: field.value }))) {
      document.querySelector(`details[data-name="${CSS.escape(field.value.trim())}"]`)?.setAttribute("open", "");
    }
  };
  const remove = async () => {
    const labelled = app.state.photos.filter((p) => p.yours === name).length;
    if (!confirm(`Remove ${name} with its texts, and the label of ${count(labelled, "photo")}?`)) return;
    await sent();
    app.replaced = [];
    if (await change_or_say("remove-class", () => ({ name }))) $("texts-title").focus();
  };
  return make("form", { className: "line", onsubmit: rename }, field, make("button", { type: "submit" }, "Rename"),
    make("button", { type: "button", onclick: remove }, "Remove the class"));
}

function row(i, kind, text) {
  const name = app.state.texts[i].name;
  const input = make("input", { type: "text", value: text, "aria-label": `${kind} of ${name}`, "data-class": String(i),
    "data-kind": kind, maxlength: "500", oninput: later });
  const line = make("div", { className: "text" }, input);
  line.append(make("button", { type: "button", "aria-label": `Remove “${text || "new text"}”`,
    onclick: () => {
      const next = line.nextElementSibling?.querySelector("input") ?? line.parentElement.nextElementSibling;
      line.remove();
      next.focus();
      send();
    } }, "Remove"));
  return line;
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(send, WAIT);
}

// What the fields hold, as the server takes it.
function typed() {
  const { state } = app;
  const now = state.texts.map((c) => ({ name: c.name, ...Object.fromEntries(state.kinds.map((k) => [k, []])) }));
  for (const input of document.querySelectorAll("#texts input[data-kind]")) now[input.dataset.class][input.dataset.kind].push(input.value);
  return now;
}

const plain = (classes) => JSON.stringify(classes.map((c) => [c.name, ...app.state.kinds.map((k) =>
  [...new Set(c[k].map((text) => text.trim().replace(/\s+/g, " ")).filter((text) => text))])]));

// A text that a class has twice in one kind; "" if there is none.
function twice(classes) {
  for (const c of classes)
    for (const kind of app.state.kinds) {
      const texts = c[kind].map((text) => text.trim().replace(/\s+/g, " ")).filter((text) => text);
      const again = texts.find((text, i) => texts.indexOf(text) < i);
      if (again) return again;
    }
  return "";
}

function send() {
  clearTimeout(timer);
  timer = null;
  const number = ++asked, classes = typed();
  repeated = twice(classes);
  sending = change("texts", () => ({ classes })).catch((error) => {
    if (number !== asked) return;
    if (!error.state) {
      $("answer").replaceChildren(make("span", { className: "bad" }, error.message));
      return;
    }
    // another tab was quicker: what is typed here stays in its fields until the person decides
    app.state.version = error.state.version;
    app.replaced = [];
    say("The texts were changed in another tab meanwhile.", ["Keep mine", send], ["Take those", () => {
      update_from_elsewhere(error.state);
      texts();
    }]);
  });
  return sending;
}

// Waits until everything that was typed is on the server.
export async function sent() {
  if (timer !== null) send();
  await sending;
}

export const waiting = () => timer !== null;

on_update(() => {
  const { state } = app, boxes = [...document.querySelectorAll("details.class")];
  const names = boxes.map((box) => box.dataset.name).join("\n");
  const same = names === state.texts.map((c) => c.name).join("\n");
  // another tab or a new class: the fields follow, unless something typed is on its way
  if (!same || (!waiting() && plain(typed()) !== plain(state.texts) && !document.activeElement?.matches("#texts input[data-kind]"))) texts();
  else state.texts.forEach((c, i) => { boxes[i].querySelector("summary").lastChild.textContent = said(c); });
  $("add-class").hidden = !state.may_label;
});
$("add-class").addEventListener("submit", async (event) => {
  event.preventDefault();
  await sent();
  const name = $("new-class").value;
  if (await change_or_say("add-class", () => ({ name }))) $("new-class").value = "";
});
$("afresh").addEventListener("click", async () => {
  if (!confirm("Go back to the first texts, without your labels?")) return;
  await sent();
  app.replaced = [];
  if (await change_or_say("start-afresh")) texts();
});
$("save").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await sent();
    const { path } = await post("save", { name: $("save-name").value.trim() });
    $("saved").textContent = `Saved: ${path}. A run uses it with texts: and this file in its configuration, classify with --texts.`;
    $("saved").className = "good";
  } catch (error) {
    $("saved").textContent = error.message;
    $("saved").className = "bad";
  }
});
