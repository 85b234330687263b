"""Notebook → page → storage, with small notebooks made here and a real kernel."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import jinja2
import nbformat
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs_version

import dmarckit
from dmarckit.core.errors import PageError
from dmarckit.core.settings import Settings
from dmarckit.core.storage import FolderStorage, StoredObject, open_storage
from dmarckit.pages import build, html as page_html, index as page_index, render
from dmarckit.pages.build import BuiltPage, build_page, find_notebook, known_parameters
from dmarckit.pages.links import page_key
from dmarckit.pages.publish import load_page, refresh_index, store_page
from tests.support.page_notebooks import write_notebook

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
PARAMETERS = 'days: int = 30  # length in days\nname: str = "x"  # a name'


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pages of a test are made, and what of failed ones is kept."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def notebook(path: Path, *code: str) -> Path:
    return write_notebook(path, *code, parameters=PARAMETERS, title="# A title\n\nA *lead*.")


def built(path: Path, *code: str, **parameters: object) -> BuiltPage:
    return build_page(notebook(path / "small.ipynb", *code), parameters, now=NOW)


def test_a_page_from_a_notebook(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = built(
        tmp_path,
        "## First <part>\n\nWords.",
        "import plotly.graph_objects as go\n"
        "go.Figure(go.Bar(x=['a', 'b'], y=[1, 2000], name='n'), {'title': {'text': 'A &lt; B'}})",
        "## Second",
        "import sys, os; print(sys.executable, os.environ['PLOTLY_RENDERER'], days, name)",
        "print('debugger', sys.modules['debugpy'])",
        "print('a warning', file=sys.stderr)",
        days=7,
        name="</script>",
    )
    html = page.html.decode()
    assert (page.notebook, page.title) == ("small", "A title")
    assert page.warnings == ("a warning",)
    assert "<h1>A title</h1>" in html
    assert "<em>lead</em>" in html
    assert 'id="section-1">First &lt;part&gt;</h2>' in html
    assert "<h3>A &lt; B</h3>" in html
    assert '<th scope="row">b</th><td class="count">2,000</td>' in html
    assert f"{sys.executable} plotly_mimetype 7 &lt;/script&gt;" in html
    assert "debugger None" in html, "it takes a third of a kernel's start"
    assert "a warning" not in html.partition("<footer>")[0]
    assert "<code>&#39;&lt;/script&gt;&#39;</code> <span>a name</span>" in html
    assert "Built 2026-11-24 09:00 UTC" in html
    assert html.count("plotly.js (basic - minified) v") == 1
    assert capfd.readouterr() == ("", "")


def test_the_same_input_gives_the_same_bytes_and_key(tmp_path: Path) -> None:
    first, second = (built(tmp_path / n, "1 + 1", days=7) for n in ("a", "b"))
    assert first.html == second.html
    assert first.key == second.key == "small/2026-11-24.days-7.9789fa86.html"


def test_a_page_without_charts_is_small(tmp_path: Path) -> None:
    page = built(tmp_path, "1 + 1", days=30)
    assert len(page.html) < 40_000
    assert page.key == "small/2026-11-24.html", "a default that is given changes nothing"


def test_settings_file_and_working_directory_reach_the_kernel(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "n.ipynb", "import os; print(os.getcwd(), os.environ['DMARCKIT_CONFIG'])"
    )
    page = build_page(path, {}, config="my.toml", now=NOW)
    assert f"{Path.cwd()} my.toml" in page.html.decode()


def test_the_kernel_is_this_python_whatever_is_installed_as_python3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tmp_path / "jupyter/kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text('{"argv": ["/bin/false"], "display_name": "P", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    page = built(tmp_path, "import sys; sys.executable")
    assert sys.executable in page.html.decode()


def test_an_unknown_parameter_is_an_error_that_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(PageError, match="small has no parameter dayz; it has: days, name"):
        built(tmp_path, "1", dayz=7)


def test_parameters_are_what_the_tagged_cell_assigns(tmp_path: Path) -> None:
    cell = """days: int = 30  # length, in days
    # a line about the next
policy = "p=reject; sp=none"  # what would be published
domains: list = [
    "example.com",  # first
    "例え.example",
]  # several"""
    path = write_notebook(tmp_path / "n.ipynb", "1", parameters=cell)
    assert known_parameters(path) == {
        "days": {"default": "30", "kind": "int", "help": "length, in days"},
        "policy": {
            "default": '"p=reject; sp=none"',
            "kind": "",
            "help": "what would be published",
        },
        "domains": {
            "default": '[\n    "example.com",  # first\n    "例え.example",\n]',
            "kind": "list",
            "help": "several",
        },
    }
    assert known_parameters(write_notebook(tmp_path / "none.ipynb", "1", parameters="")) == {}
    broken = write_notebook(tmp_path / "broken.ipynb", "1", parameters="days = = 3")
    with pytest.raises(PageError, match="the cell of parameters is not Python"):
        known_parameters(broken)


def test_a_date_is_passed_as_text(tmp_path: Path) -> None:
    page = built(tmp_path, "name", name=date(2026, 11, 3))
    assert "&#39;2026-11-03&#39;" in page.html.decode()
    assert ".name-2026-11-03." in page.key


def test_a_cell_that_raises_is_named_and_the_notebook_kept(tmp_path: Path) -> None:
    with pytest.raises(PageError) as caught:
        built(tmp_path, "1", "raise ValueError('first\\nlast \\x1b[31m')")
    message = str(caught.value)
    assert message.startswith(
        r"notebook small failed in cell [3]: ValueError: last \x1b[31m (kept: "
    )
    kept = Path(message.rpartition("(kept: ")[2].rstrip(")"))
    assert "ValueError" in kept.read_text()


FOUND = "import os; print('found' if os.path.exists(os.environ['DMARCKIT_ANALYSIS']) else 'not')"


@pytest.mark.parametrize(("room", "shown"), [(True, b"found"), (False, b"not")])
def test_what_a_run_has_found_is_left_for_its_kernel_where_there_is_room(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, room: bool, shown: bytes
) -> None:
    def full(_made: object, file: BinaryIO) -> None:
        file.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    if not room:
        monkeypatch.setattr(build.pickle, "dump", full)
    path = notebook(tmp_path / "small.ipynb", FOUND)
    page = build_page(path, {}, now=NOW, analysis=lambda: "all well")  # type: ignore[arg-type, return-value]
    assert b"<pre>" + shown in re.sub(rb"<pre[^>]*>", b"<pre>", page.html)
    assert not list(temporary.iterdir())


def test_a_page_that_fails_keeps_its_notebook_and_nothing_of_the_analysis(
    tmp_path: Path, temporary: Path
) -> None:
    path = notebook(tmp_path / "small.ipynb", "1 / 0")
    with pytest.raises(PageError, match="ZeroDivisionError"):
        build_page(path, {}, now=NOW, analysis=lambda: "all well")  # type: ignore[arg-type, return-value]
    assert [file.name for file in temporary.glob("*/*")] == ["small.ipynb"]


def test_a_kernel_ends_with_the_last_cell_and_nothing_of_it_stays(
    tmp_path: Path, temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ends = tmp_path / "ends"
    built(
        tmp_path,
        f"import atexit, pathlib; atexit.register(pathlib.Path({str(ends)!r}).touch)",
        "import tempfile; tempfile.mkstemp()",
        "import signal; signal.signal(signal.SIGINT, lambda *_: print('stopped', flush=True))",
    )
    assert not ends.exists(), "a kernel that ends by itself can abort at its sockets"
    assert not list(temporary.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cell", ["1 / 1", "1 / 0"])
def test_a_home_in_which_something_still_writes_hides_no_outcome(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    removing = os.rmdir

    def rmdir(path: Any, **given: Any) -> None:
        if str(path).endswith("kernel"):
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        removing(path, **given)

    monkeypatch.setattr("os.rmdir", rmdir)
    if cell == "1 / 1":
        assert b"1.0" in built(tmp_path, cell).html
    else:
        with pytest.raises(PageError, match="ZeroDivisionError"):
            built(tmp_path, cell)


def test_a_cell_that_hangs_is_stopped(tmp_path: Path) -> None:
    path = notebook(tmp_path / "slow.ipynb", "import time; time.sleep(60)")
    with pytest.raises(PageError, match=r"slow failed: a cell took longer than 1 s \(kept: "):
        build_page(path, {}, timeout=1)


def test_a_kernel_that_dies_is_told(tmp_path: Path) -> None:
    with pytest.raises(PageError, match="small failed: Kernel died"):
        built(tmp_path, "import os; os._exit(1)")


def test_no_notebook_there(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{")
    with pytest.raises(PageError, match="is no notebook"):
        build_page(broken, {})
    with pytest.raises(PageError, match="cannot read notebook"):
        build_page(tmp_path / "missing.ipynb", {})


def test_finding_a_notebook(tmp_path: Path) -> None:
    assert find_notebook("overview").parent == Path(dmarckit.__file__).parent.parent / "notebooks"
    own = notebook(Path("notebooks/overview.ipynb"), "1")
    assert find_notebook("overview") == own
    assert find_notebook(str(tmp_path / "notebooks/overview.ipynb")).is_file()
    with pytest.raises(
        PageError, match=r"overvue is not known; did you mean overview\? There are: domain"
    ):
        find_notebook("overvue")


def test_keys_are_safe_in_addresses() -> None:
    day = date(2026, 11, 24)
    key = page_key("Übersicht 1", {"domain": "../../etc?x#y", "z": "<a>"}, day)
    assert key.startswith("bersicht-1/etc-x-y-c62af93a/2026-11-24.z-a.")
    for parameter in ("d", "domain"):
        assert page_key("a", {parameter: "x.example"}, day) != page_key(
            "a", {parameter: "X.example"}, day
        )


@pytest.mark.parametrize("domain", ["..", "a..b", "a/b", "-", "Example.com", "\udcff", "x" * 300])
def test_a_domain_that_is_none_gets_a_safe_folder(domain: str) -> None:
    folder = page_key("domain", {"domain": domain}, date(2026, 11, 24)).split("/")[1]
    assert re.fullmatch(r"[a-z0-9-]*[0-9a-f]{8}", folder)
    assert len(folder) < 80


def page(key: str = "overview/2026-11-24.html") -> BuiltPage:
    return BuiltPage("overview", key, "T", b"<p>caf\xc3\xa9</p>", nbformat.v4.new_notebook(), ())


def test_publishing_to_a_folder(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "pages"))
    store_page(storage, "overview/2026-11-24.html", page().html)
    store_page(storage, "overview/2026-11-25.days-7.domain-a-b.0a1b2c3d.html", page().html)
    refresh_index(Settings(home=str(tmp_path)))
    assert storage.get("overview/2026-11-24.html") == page().html
    index = storage.get("index.html").decode()
    later = index.index('href="overview/2026-11-25.days-7.domain-a-b.0a1b2c3d.html"')
    assert later < index.index('href="overview/2026-11-24.html"')
    assert "<span>days 7, domain a-b</span>" in index
    assert "Content-Security-Policy" in index


class Compressing(FolderStorage):
    """A folder that takes compressed text, as S3 does, and notes how it was stored."""

    compresses = True

    def put(
        self, key: str, data: bytes, *, content_type: str, content_encoding: str | None = None
    ) -> None:
        assert (content_type, content_encoding) == ("text/html; charset=utf-8", "gzip")
        super().put(key, data, content_type=content_type)


def test_publishing_compressed(tmp_path: Path) -> None:
    storage = Compressing(tmp_path)
    store_page(storage, page().key, page().html)
    assert gzip.decompress(storage.get(page().key)) == page().html
    assert load_page(storage, page().key) == "<p>café</p>"
    script = b'<script id="plotly">plotly</script>'
    for html in (b"", b"<p>one</p>" + script, b"<p>two</p>" + script + b"<p>three</p>"):
        store_page(storage, page().key, html)
        assert gzip.decompress(storage.get(page().key)) == html


@pytest.mark.parametrize(
    "key",
    [
        "index.html",
        "overview/x.html",
        "a/b/c/2026-11-24.html",
        "a/b</2026-11-24.html",
        "<b>/2026-11-24.html",
        "x.png",
    ],
)
def test_the_index_lists_only_pages(key: str) -> None:
    stored = StoredObject(key, "e", 1, NOW)
    assert "There are no pages yet" in page_index.index_page([stored]).decode()


@pytest.mark.parametrize(
    ("trace", "bundle"),
    [("Bar", "(basic - minified) v"), ("Heatmap", "(cartesian - minified) v"), ("Sankey", "v")],
)
def test_a_page_has_the_smallest_plotly_that_draws_its_charts(trace: str, bundle: str) -> None:
    figure = go.Figure(getattr(go, trace)(), layout_template="none")
    data = {render.FIGURE_MIMETYPE: json.loads(figure.to_json())}
    output = nbformat.v4.new_output("display_data", data)
    cell = nbformat.v4.new_code_cell("figure", outputs=[output])
    page = render.render_page(
        nbformat.v4.new_notebook(cells=[cell]), name="own", parameters={}, built=NOW
    )
    scripts = re.findall(r"<script[^>]*>/\*\*\n\* plotly.js ([^\n]*)", page.decode())
    assert scripts == [f"{bundle}{get_plotlyjs_version()}"], "the version of the Python package"


def test_script_data_cannot_end_its_element() -> None:
    assert page_html.script_json({"a": "</script><!--"}) == r'{"a":"\u003c/script>\u003c!--"}'


def test_no_temporary_folder_is_left(tmp_path: Path, temporary: Path) -> None:
    built(tmp_path, "1")
    assert list(temporary.iterdir()) == []


def test_no_grammar_of_uris_is_built_for_a_page() -> None:
    """JupyterLab brings a package that jsonschema would load for a second in each process."""
    code = "import dmarckit.pages.build, sys; print('rfc3987_syntax.syntax_helpers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_notebooks_that_share_a_kernel_find_it_as_if_it_were_new(
    tmp_path: Path, temporary: Path
) -> None:
    kernel = build.SharedKernel()

    def shared(code: str) -> str:
        path = notebook(tmp_path / "small.ipynb", "import os; print('process', os.getpid())", code)
        return build_page(path, {}, now=NOW, kernel=kernel).html.decode()

    def process(page: str) -> str:
        (number,) = re.findall(r"process (\d+)", page)
        return str(number)

    try:
        first = shared("import tabnanny; mine = 1; days")
        second = shared("import sys; print('mine' in dir(), Out, 'tabnanny' in sys.modules)")
        assert process(first) == process(second)
        assert "False {} True" in second, "variables are gone, what was imported is not"
        with pytest.raises(PageError, match=r"failed in cell \[3\]: ZeroDivisionError"):
            shared("1 / 0")
        third = shared("days")
        assert process(third) != process(second), "what failed may have left anything"
        os.kill(int(process(third)), signal.SIGKILL)
        # as long as it seems to live, a page waits a minute for its answer
        os.waitid(os.P_PID, int(process(third)), os.WEXITED | os.WNOWAIT)
        assert process(shared("days")) != process(third), "it died between two pages"
    finally:
        kernel.close()
    assert not list(temporary.glob("dmarckit-kernel-*"))


def test_templates_are_kept_compiled_where_there_is_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(use: str) -> str:
        cache = page_html.CompiledTemplates(use)
        loader = jinja2.DictLoader({"t": "{{ 1 + 1 }}"})
        return jinja2.Environment(loader=loader, bytecode_cache=cache).get_template("t").render()

    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(page_html, "TEMPLATES", tmp_path)
    assert shown("part") == shown("part") == shown("page") == "2"
    kept = sorted((tmp_path / "__pycache__").iterdir())
    assert [file.name.split("-")[:2] for file in kept] == [
        ["page", dmarckit.__version__],
        ["part", dmarckit.__version__],
    ]
    kept[1].write_bytes(b"something else")
    assert shown("part") == "2"
    # the parent is missing, as a folder would be that nobody may write
    monkeypatch.setattr(page_html, "TEMPLATES", tmp_path / "other")
    assert shown("part") == "2", "a place where nothing can be kept is no fault"
