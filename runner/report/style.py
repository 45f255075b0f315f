"""How a report looks: light and dark as the reader has it, readable on a phone and on paper."""

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--text:#1b1f23;--dim:#57606a;--line:#d0d7de;--soft:#f3f5f7;
--done:#1a7f4b;--failed:#c0261c;--idle:#8c959f;--other:#7a5cc4;--link:#0757ba}
@media(prefers-color-scheme:dark){:root{--ground:#12161b;--text:#e6e9ec;--dim:#a3adb7;--line:#39424c;--soft:#1c2229;
--done:#4cc38a;--failed:#ff7b72;--idle:#6e7781;--other:#b39df3;--link:#79b8ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;background:var(--ground);color:var(--text);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
a{color:var(--link)}
a:focus-visible,.wide:focus-visible,summary:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.state{font-weight:600}.state.failed,.state.cancelled{color:var(--failed)}.state.done{color:var(--done)}
.dim,caption{color:var(--dim)}caption{text-align:left;padding:.2rem 0;font-size:.9rem}
dl{margin:.5rem 0;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:.1rem 1.5rem}
dl div{display:flex;gap:.6rem;align-items:baseline}dt{color:var(--dim);flex:0 0 8.5rem}dd{margin:0;min-width:0}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;overflow-wrap:normal}
th,td{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line);
overflow-wrap:break-word;max-width:24rem}
tbody th{min-width:4.5rem}
thead th{color:var(--dim);font-weight:600;overflow-wrap:normal}tbody th{font-weight:400}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font:.85rem/1.4 ui-monospace,monospace;background:var(--soft);border-radius:3px;padding:.05rem .25rem}
pre{margin:.3rem 0;white-space:pre-wrap;background:var(--soft);padding:.4rem .6rem;border-radius:4px}
pre code{padding:0}
.cause{border-left:4px solid var(--failed);padding:0 0 0 .8rem;margin:1rem 0}.cause h3{margin-top:0}
svg{display:block;width:100%;height:1.25rem;background:var(--soft)}
.line td:nth-child(2){width:70%;min-width:9rem;max-width:none}
.line th{white-space:nowrap;max-width:12rem;overflow:hidden;
text-overflow:ellipsis}
.ends{display:flex;justify-content:space-between;font-weight:400}
.spreads td:last-child{width:55%;min-width:8rem}
.bar{height:1.6rem}
.done{fill:var(--done)}.failed{fill:var(--failed)}.idle{fill:var(--idle)}.other{fill:var(--other)}
.s1{opacity:.3}.s2{opacity:.5}.s3{opacity:.75}
.range{stroke:var(--idle);stroke-width:2}.box{fill:var(--done);opacity:.55}.middle{fill:var(--text)}
.key{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem;background:currentColor}
.key.done{color:var(--done)}.key.failed{color:var(--failed)}.key.idle{color:var(--idle)}.key.other{color:var(--other)}
@media(max-width:30rem){body{padding:.6rem}dt{flex-basis:7rem}th,td{padding-right:.4rem}
.spreads :is(th,td):nth-child(4){display:none}.spreads td:last-child{min-width:6rem}}
@media print{body{max-width:none}.wide{overflow:visible}}
"""
