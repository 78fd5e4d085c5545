"""The stages of one `dvc repro` share one start of Python's libraries, and what can be done before their turn.

Importing TensorFlow, MLflow and the like takes longer than most stages compute. So the first stage that DVC starts
brings up a server beside it, which imports those libraries and nothing of graft. Each later stage is a process forked
from it: it has the arguments, environment, folder and files of the `graft` command that DVC started, reads graft's
code anew, and ends with its exit code. While a stage runs, such a process for the one that follows does what does not
depend on it, such as building the network. The server ends with the `dvc` process. Without one a stage does all that
for itself.

command   the command that DVC started: asks for a process that runs it
server    imports TensorFlow and forks
libraries what else is imported once for all
minder    starts such a process, and tells the command how it ended
ahead     one for the stage that follows
wire      how they talk

On Linux only: elsewhere a process with these libraries cannot be forked safely. GRAFT_WARM=0 switches it off.
"""
