// What happens when the page is opened.

const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;

/** Offer light, dark and the system's choice, in turn. */
function offerThemes() {
  const button = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  let at = 0;
  const show = () => {
    if (themes[at] === "system") delete root.dataset.theme;
    else root.dataset.theme = themes[at];
    button.textContent = { system: "Auto", light: "Light", dark: "Dark" }[themes[at]];
    button.setAttribute("aria-label", `Colors: ${themes[at]}; change`);
  };
  button.addEventListener("click", () => { at = (at + 1) % themes.length; show(); });
  button.hidden = false;
  show();
}

/** Mark in the navigation which section is being read. */
function followReading() {
  const links = new Map([...document.querySelectorAll("nav .links a")].map((link) => [link.hash.slice(1), link]));
  const mark = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      const link = links.get(target.id);
      if (!isIntersecting || !link) continue;
      links.forEach((other) => other.removeAttribute("aria-current"));
      link.setAttribute("aria-current", "true");
      const strip = link.parentElement;
      strip.scrollLeft = link.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + link.clientWidth / 2;
    }
  }, { rootMargin: "-20% 0px -75% 0px" });
  document.querySelectorAll("main > section").forEach((section) => mark.observe(section));
}

/** Let code be copied, where the browser allows it. */
function offerCopies() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("code").textContent;
      const done = await navigator.clipboard.writeText(text).then(() => "Copied", () => "Not allowed");
      button.textContent = done;
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
}

offerThemes();
followReading();
offerCopies();
offerData(data.charts);
if (data.pairs) new PairBrowser(document.getElementById("browser"), data.pairs);
root.dataset.ready = "pairs";
drawCharts(data.charts, data.config).then(() => { root.dataset.ready = "all"; });
