// The way in: what stands behind # in the address is a ticket, which is good once; the session is a cookie.

const [ticket, dashboard] = location.hash.slice(1).split(",");
history.replaceState(null, "", "/enter");
const answer = await fetch("/enter", { method: "POST", body: ticket ?? "" });
if (answer.ok) {
  if (/^[0-9]+$/.test(dashboard ?? "")) localStorage.setItem("dashboard", dashboard);
  location.replace("/");
} else {
  document.getElementById("said").textContent =
    "This address was used already, or is too old. The command “labfleet web” gives a new one.";
}
