import logging

from pipeline import compiling


def test_compiled_code_works_where_it_cannot_be_kept(monkeypatch, caplog):
    real = compiling.njit

    def on_a_read_only_disk(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(compiling, "njit", on_a_read_only_disk)
    with caplog.at_level(logging.WARNING):
        double = compiling.compiled(lambda number: 2 * number)
    assert double(21) == 42
    assert "NUMBA_CACHE_DIR" in caplog.text
