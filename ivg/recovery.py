"""Back to the last good state: to go on from there, or to see what went wrong after it."""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax

from ivg import build, checkpoint, cost, devices, guard, rollbacks
from ivg.calls import Calls
from ivg.members import Member, calls_of, meter_of
from ivg.stopping import apart


def restore(run: build.Run, workdir: pathlib.Path, config: Mapping | None = None):
    """(state, step) of the last good checkpoint, of this config if it is given; else of step 0."""
    # Compiling dozens of random draws well takes a CPU longer than drawing them badly, once.
    fast = {} if devices.on_accelerator() else {"xla_backend_optimization_level": 0}
    initial = jax.jit(
        run.method.init, out_shardings=devices.replicated(run.mesh), compiler_options=fast
    )
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=devices.replicated(run.mesh)),
        jax.eval_shape(run.method.init, run.init_key),
    )
    folder, warn = build.checkpoints(workdir), lambda text: print(f"warning: {text}")
    found = checkpoint.restore(folder, abstract, config=config, warn=warn)
    return (initial(run.init_key), 0) if found is None else (found[1], found[0])


def explain(members: Sequence[Member], calls: Calls, meter: cost.Meter, failure: guard.Failure,
            stop, say: Callable[[str], None]) -> guard.Failure:  # fmt: skip
    """Says of a step that is not finite where that began, by running it again.

    Of several runs that are trained as one, the one is run alone. Several processes do without.

    Raises:
        SystemExit: asked to end meanwhile.
    """
    if not devices.is_alone():
        return failure
    member = members[failure.run]
    if members[1:]:
        calls, meter = calls_of([member]), meter_of([member], stop)
    try:
        state, step = restore(member.run, member.workdir, member.config)
        say(f"step {failure.step} is not finite: running the steps after step {step} again to see "
            "where it began ...")  # fmt: skip
        with jax.set_mesh(calls.mesh):
            found = guard.explained(
                failure, calls, meter.program, state, step, functools.partial(apart, stop)
            )
    except Exception as error:  # what was noticed must be said in any case
        return failure._replace(found=f"where it began could not be found ({error})")
    if found is None:
        stop.end(step)
    return found


def go_back(own: Sequence[tuple[build.Run, Mapping, pathlib.Path]], failure: guard.Failure):
    """The states of the last good checkpoint, or of step 0, after a step that was not finite.

    The run that failed goes on from there with other keys, which is written down first. Those that
    are trained as one with it go back too, and do again what they did.

    Args:
        own: run, config and directory of all runs that are trained as one.
        failure: of one of them.

    Returns:
        (states, step).

    Raises:
        NotFinite: the run may not go back (any more), or the runs are at different steps.
    """
    _, config, workdir = own[failure.run]
    past = rollbacks.read(workdir)
    if not rollbacks.allowed(config, past):
        raise guard.NotFinite(failure._replace(tried=len(past)))
    found = [restore(run, folder, its) for run, its, folder in own]
    if len({step for _, step in found}) > 1:
        raise guard.NotFinite(failure)
    step, why = found[0][1], str(guard.NotFinite(failure))
    new = rollbacks.Rollback(len(past) + 1, failure.step, step, why)
    devices.on_first(lambda: rollbacks.write(workdir, [*past, new]))
    print(f"warning: {why}")
    print(f"rollback {new.number} of at most {config['max_rollbacks']}: from step {step} on the "
          "run draws with other keys")  # fmt: skip
    return [state for state, _ in found], step
