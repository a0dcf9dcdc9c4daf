"""An engine of a user's own is named by ``engine._target_`` and asked like ours."""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from iterdpo.assemble import make_engine
from iterdpo.config.compose import conf_directory, typed
from iterdpo.engines.base import Completion, Sampling
from iterdpo.models.chat_messages import Request
from iterdpo.records import Base, Policy

OWN = ("engine=custom", "engine._target_=tests.engines.own.OwnEngine", "engine.device=cpu")


def test_it_gets_its_settings_and_what_the_run_provides() -> None:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = typed(compose("config", [*OWN, "++engine.answer=well"]))
    engine = make_engine(config)
    policy = Policy("M0", Base("p", "s", "none", "float32", "p"))
    (answer,) = engine.generate([Request.of("Say it.")], policy, Sampling())
    assert isinstance(answer, Completion)
    assert answer.text == "well lab"
