"use strict";
// Labels leave the page and come in, and become a run.

import { $, app, ask, count, in_turn, make, on_update, post, say, update } from "./common.js";
import { undo } from "./labels.js";
import { sent } from "./texts.js";

const PAUSE = 1000; // milliseconds between two looks at a run

on_update(() => {
  const { state } = app;
  $("run").hidden = !state.may_label;
  $("start-now").hidden = !state.clone;
});

async function make_run(event) {
  event.preventDefault();
  const made = $("made");
  made.className = "";
  made.textContent = "Writing …";
  try {
    await sent();
    const how = document.querySelector("[name=how]:checked").value;
    const start = app.state.clone && $("start").checked;
    const found = await post("make-run", { name: $("run-name").value.trim(), how, start });
    made.className = "good";
    const { photos, folder, configuration } = found;
    made.replaceChildren(`${count(photos, "photo")} in ${folder}; configuration: ${configuration}. `);
    if (found.started) follow();
    else made.append("Run it in a clone of coder-clip: ", make("code", {}, `make reproduce CONFIG=${configuration}`));
  } catch (error) {
    made.textContent = error.message;
    made.className = "bad";
  }
}

// Show what a run says until it ends.
async function follow() {
  $("stop-run").hidden = false;
  $("run-lines").hidden = false;
  let now;
  do {
    try {
      now = await ask("run");
    } catch (error) {
      now = { state: "failed", lines: [error.message] };
    }
    $("run-lines").textContent = now.lines.join("\n");
    $("run-lines").scrollTop = $("run-lines").scrollHeight;
    if (now.state === "running") await new Promise((next) => setTimeout(next, PAUSE));
  } while (now.state === "running");
  $("stop-run").hidden = true;
  const made = $("made");
  if (now.state === "done") {
    made.className = "good";
    made.replaceChildren("The run is done: ", make("a", { href: "report", target: "_blank", rel: "noopener" }, "its report"), ` (${now.report}).`);
  } else {
    made.className = "bad";
    made.textContent = "The run has ended without a report; its last lines are below. “Make the run” goes on where it ended.";
  }
}

$("make-run").addEventListener("submit", make_run);
$("stop-run").addEventListener("click", () => post("stop-run", {}));
$("labels-file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  try {
    let before;
    await in_turn(() => {
      before = app.state.version;
      return ask(`labels?version=${before}`, { method: "POST", body: file });
    });
    if (app.state.version > before) say(`${file.name}: ${app.state.undo}`, ["Undo", undo]);
    else say(`${file.name}: the photos have these labels already.`);
  } catch (error) {
    if (error.state) update(error.state);
    say(error.message);
  }
  event.target.value = "";
});
