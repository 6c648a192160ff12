"""Types are checked at run time, in every test from its beginning."""

import pytest
import typecheck
from jaxtyping import TypeCheckError


@pytest.mark.parametrize("wrong", ["one", "two"])
def test_what_one_test_has_called_often_is_checked_in_the_next(wrong):
    from functa_core.modality import seeded

    with pytest.raises(TypeCheckError):
        seeded(wrong)
    for _ in range(typecheck.ENOUGH):
        assert not trusted(seeded)
        seeded(1)
    assert trusted(seeded)


def trusted(function) -> bool:
    return vars(function).get("__no_type_check__", False)
