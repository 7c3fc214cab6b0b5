// While a job runs (hexaquant report OUT --serve): what it does, once a second; the page is loaded again on new results.

const LIVE = { version: document.documentElement.dataset.version, failures: 0 };

async function poll() {
  try {
    const answer = await (await fetch("progress.json", { cache: "no-store" })).json();
    LIVE.failures = 0;
    showProgress(answer.progress);
    if (answer.version !== LIVE.version) offerReload();
  } catch (error) {
    LIVE.failures += 1;
    if (LIVE.failures === 3) $("#live-state").textContent = "the server does not answer any more; this is its last word";
  }
  setTimeout(poll, 1000);
}

function offerReload() {
  if ($("#panel").hidden && document.activeElement === document.body) location.reload();
  else $("#live-reload").hidden = false;
}

function showProgress(progress) {
  const state = $("#live-state");
  if (!progress) { state.textContent = "no job has run here yet"; return; }
  const words = { running: "running", done: "done", failed: "stopped with an error" };
  state.textContent = `${progress.command.join(" ") || "job"}: ${progress.stale ? "does not report any more" : words[progress.state] || progress.state}`;
  $("#live-tasks").replaceChildren(...progress.tasks.map(taskRow));
  $("#live-notes").replaceChildren(...progress.notes.slice(-6).map((note) => el("li", { class: note.kind }, note.text)));
}

function taskRow(task) {
  const figures = Object.entries(task.figures).map(([name, value]) => `${name} ${figure(value)}`).join("  ");
  const count = known(task.total) ? `${task.done} of ${task.total}` : String(task.done ?? 0);
  return el("div", { class: "task" }, el("span", {}, task.task),
    el("progress", { max: task.total || 1, value: task.total ? task.done : task.running ? null : 1, "aria-label": task.task }),
    el("span", { class: "muted" }, [count, `${task.seconds} s`, figures].filter(Boolean).join(" · ")));
}
