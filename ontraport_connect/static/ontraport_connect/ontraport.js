// Optional: shows that a form is on its way, and closes a question without a reload. Everything works without this file.
document.addEventListener("submit", event => {
  const button = event.submitter;
  if (!button?.matches(".ontraport-main [data-busy], .ontraport-button [data-busy]")) return;
  button.dataset.idle = button.innerHTML;
  button.textContent = button.dataset.busy;
  button.setAttribute("aria-busy", "true");
  setTimeout(() => { button.disabled = true; });
});
addEventListener("pageshow", () => document.querySelectorAll("[data-idle]").forEach(button => {
  button.innerHTML = button.dataset.idle;
  button.removeAttribute("aria-busy");
  button.removeAttribute("data-idle");
  button.disabled = false;
}));
document.addEventListener("click", event => {
  const details = event.target.closest("[data-keep]")?.closest("details");
  if (!details) return;
  event.preventDefault();
  details.open = false;
  details.querySelector("summary").focus();
});
