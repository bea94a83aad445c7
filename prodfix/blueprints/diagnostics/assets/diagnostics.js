// Keeps the overview fresh. Everything works without it.
"use strict";

const overview = document.getElementById("overview");

function keepFresh() {
  const told = document.getElementById("refreshed");
  const button = document.getElementById("refresh");
  const period = Number(overview.dataset.seconds) * 1000;
  let timer, last = new Date(), newest = 0;

  function tell(failed) {
    const at = document.createElement("time"); // which shell.js tells as all others
    [at.dateTime, at.title, at.dataset.seconds] = [last.toISOString(), last.toISOString(), ""];
    at.textContent = localTime(last, true);
    told.replaceChildren(failed ? "Not refreshed since " : "As of ", at);
    told.classList.toggle("stale", failed);
  }

  function open() {
    return [...overview.querySelectorAll("details[open][id]")].map((one) => one.id);
  }

  function replace(html) {
    const kept = open();
    const href = overview.contains(document.activeElement) && document.activeElement.getAttribute("href");
    const same = () => [...overview.querySelectorAll(`[href="${CSS.escape(href)}"]`)];
    const number = href ? same().indexOf(document.activeElement) : -1; // the plot and its table lead to the same
    overview.innerHTML = html;
    for (const id of kept) document.getElementById(id)?.setAttribute("open", "");
    if (href) same()[number]?.focus({ preventScroll: true });
  }

  async function refresh() {
    clearTimeout(timer);
    const number = ++newest;
    const overtaken = () => number !== newest; // somebody who did not want to wait has asked again, and another worker was faster
    try {
      const answer = await fetch(overview.dataset.url, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(8000) });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      const html = await answer.text();
      if (overtaken()) return;
      replace(html);
      last = new Date();
      tell(false);
    } catch {
      if (overtaken()) return;
      tell(true);
    }
    schedule();
  }

  function schedule() {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(refresh, period);
  }

  button.hidden = false;
  button.addEventListener("click", refresh);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
  tell(false);
  schedule();
}

if (overview) keepFresh();

// -- copy buttons: `data-copy` is the ID of what has the text -----------------------------------------------------------------

async function copy(button) {
  const from = document.getElementById(button.dataset.copy);
  const words = button.textContent;
  try {
    await navigator.clipboard.writeText(from.value ?? from.textContent);
    button.textContent = "Copied";
  } catch {
    // No clipboard without HTTPS: then it is shown and chosen, to be copied by hand.
    const folded = from.closest("details");
    if (folded) [folded.hidden, folded.open] = [false, true];
    from.focus();
    if (from.select) from.select();
    button.textContent = "Copy it from there";
  }
  setTimeout(() => (button.textContent = words), 2500);
}

for (const button of document.querySelectorAll("button.copy[data-copy]")) {
  button.hidden = false;
  const instead = document.getElementById(button.dataset.copy)?.closest("details.menu");
  if (instead) instead.hidden = true; // which is for who has no script
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", () => copy(button));
}

// -- menus close by Escape, and by a click elsewhere ---------------------------------------------------------------------------

for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => {
    if (menu.open && !menu.contains(event.target) && !event.target.closest(".copy")) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}
