// Draws each chart when it comes near the screen, from the JSON beside it, in the colours of the
// light or the dark page. Plotly itself stands in the page as text, and runs with the first chart.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const locale = document.documentElement.lang;
  const config = { displayModeBar: false, responsive: true, locale };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Set();

  function library() {
    if (window.Plotly) return window.Plotly;
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
    if (TEXTS.calendar) {
      Plotly.register({ moduleType: "locale", name: locale, dictionary: {}, format: TEXTS.calendar });
    }
    return window.Plotly;
  }

  function recolour(trace, isDark) {
    if (!isDark) return trace;
    const swap = (c) => DARK[c] || c;
    const marker = trace.marker || {};
    const inside = trace.insidetextfont || {};
    const found = Array.isArray(marker.color) ? marker.color.map(swap) : swap(marker.color);
    return {
      ...trace,
      marker: { ...marker, color: found },
      line: trace.line && { ...trace.line, color: swap(trace.line.color) },
      insidetextfont: inside.color && { ...inside, color: colour("--page") },
    };
  }

  function relayout(layout) {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--edge"), tickcolor: colour("--edge") };
    const themed = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      font: { ...layout.font, color: colour("--soft") },
      hoverlabel: {
        ...layout.hoverlabel,
        bgcolor: colour("--page"),
        bordercolor: colour("--edge"),
        font: { ...(layout.hoverlabel || {}).font, color: colour("--ink") },
      },
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis/.test(key)) themed[key] = { ...layout[key], ...axis };
    }
    return themed;
  }

  function draw(source, isDark = dark.matches) {
    drawn.add(source);
    const figure = JSON.parse(source.textContent);
    const data = figure.data.map((trace) => recolour(trace, isDark));
    library().react(source.dataset.chart, data, relayout(figure.layout), config);
  }

  const sources = [...document.querySelectorAll("script[data-chart]")];
  const plots = new Map(sources.map((source) => [document.getElementById(source.dataset.chart), source]));
  const near = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      if (!drawn.has(plots.get(target))) draw(plots.get(target));
    }
  }, { rootMargin: "400px 0px" });
  for (const plot of plots.keys()) near.observe(plot);
  const again = (isDark) => drawn.forEach((source) => draw(source, isDark));
  dark.addEventListener("change", () => again(dark.matches));
  window.addEventListener("beforeprint", () => sources.forEach((source) => draw(source, false)));
  window.addEventListener("afterprint", () => again(dark.matches));
})();
