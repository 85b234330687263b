// Draws each chart when it comes near the screen, from the JSON beside it, in the colours of the
// light or the dark page. Plotly itself stands in the page as text, and runs with the first chart.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 759px)");
  const locale = document.documentElement.lang;
  const config = { displayModeBar: false, responsive: true, locale };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Set();
  const PAPER = 1200; // width of a chart on paper, for which the style sheet has room
  let onPaper = false;

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

  const swap = (c) => DARK[c] || c;

  function recolour(trace, isDark) {
    if (!isDark) return trace;
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

  // names at the ends of series: a narrow page has a legend instead
  function labels(notes, isDark) {
    const kept = notes.filter((note) => onPaper || !narrow.matches || note.name !== "direct");
    if (!isDark) return kept;
    return kept.map((note) => ({ ...note, text: note.text.replace(/#[0-9a-f]{6}/g, swap) }));
  }

  function relayout(layout, isDark) {
    const notes = layout.annotations || [];
    const isShort = narrow.matches && !onPaper && notes.some((note) => note.name === "direct");
    const axis = { gridcolor: colour("--line"), linecolor: colour("--edge"), tickcolor: colour("--edge") };
    const themed = {
      ...layout,
      annotations: labels(notes, isDark),
      width: onPaper ? PAPER : undefined,
      margin: isShort ? { ...layout.margin, r: 12 } : layout.margin,
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

  function draw(source) {
    const isDark = dark.matches && !onPaper;
    drawn.add(source);
    const figure = JSON.parse(source.textContent);
    const data = figure.data.map((trace) => recolour(trace, isDark));
    library().react(source.dataset.chart, data, relayout(figure.layout, isDark), config);
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
  for (const query of [dark, narrow]) query.addEventListener("change", () => drawn.forEach((source) => draw(source)));
  for (const name of ["beforeprint", "afterprint"]) {
    window.addEventListener(name, () => {
      onPaper = name === "beforeprint";
      (onPaper ? sources : drawn).forEach((source) => draw(source));
    });
  }
})();
