// A presigned link that has run out leads to an error: only its words stay.
for (const link of document.querySelectorAll("a[href*='X-Amz-Expires']")) {
  const query = new URL(link.href).searchParams;
  const [date, time] = query.get("X-Amz-Date").replace("Z", "").split("T");
  const days = date.replace(/(....)(..)(..)/, "$1-$2-$3");
  const signed = Date.parse(`${days}T${time.replace(/(..)(..)(..)/, "$1:$2:$3")}Z`);
  if (Date.now() > signed + 1000 * query.get("X-Amz-Expires")) link.removeAttribute("href");
}
