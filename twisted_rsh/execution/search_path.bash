# Bash reads this file before a single command, because BASH_ENV names it.  It takes the search path that the user's
# .bashrc sets, as a command by ssh has it, and nothing else: a line that .bashrc prints is not the command's.
unset BASH_ENV
if [[ -r ~/.bashrc ]]; then
    TWISTED_RSH_PATH=$(. ~/.bashrc >/dev/null 2>&1 </dev/null; trap - EXIT; builtin printf %s "$PATH")
    PATH=${TWISTED_RSH_PATH:-$PATH}
    unset TWISTED_RSH_PATH
fi
