// Keeps the overview fresh. Everything works without it.
"use strict";

const overview = document.getElementById("overview");

function newestFirst() {
  const plot = document.getElementById("plot");
  if (plot) plot.scrollLeft = plot.scrollWidth;
}

function keepFresh() {
  const told = document.getElementById("refreshed");
  const button = document.getElementById("refresh");
  const period = Number(overview.dataset.seconds) * 1000;
  let timer, last = new Date();

  function tell(failed) {
    const at = last.toISOString().slice(11, 19) + " UTC";
    told.textContent = failed ? `Not refreshed since ${at}` : `As of ${at}`;
    told.classList.toggle("stale", failed);
  }

  function open() {
    return [...overview.querySelectorAll("details[open][id]")].map((one) => one.id);
  }

  function replace(html) {
    const kept = open();
    const scrolled = document.getElementById("plot")?.scrollLeft;
    const href = overview.contains(document.activeElement) && document.activeElement.getAttribute("href");
    const same = () => [...overview.querySelectorAll(`[href="${CSS.escape(href)}"]`)];
    const number = href ? same().indexOf(document.activeElement) : -1; // the plot and its table lead to the same
    overview.innerHTML = html;
    for (const id of kept) document.getElementById(id)?.setAttribute("open", "");
    if (href) same()[number]?.focus({ preventScroll: true });
    const plot = document.getElementById("plot");
    if (plot && scrolled !== undefined) plot.scrollLeft = scrolled;
    else newestFirst();
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const answer = await fetch(overview.dataset.url, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(8000) });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      const html = await answer.text();
      replace(html);
      last = new Date();
      tell(false);
    } catch {
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

newestFirst();
if (overview) keepFresh();
