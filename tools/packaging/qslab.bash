# bash completion for qslab(1)
_qslab()
{
	local word=$2 before=$3 command=${COMP_WORDS[1]:-} options=
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W 'run stat top why profile map record report diff serve check core --help --version' -- "$word"))
		return
	fi
	case $command in
	run)
		local at=2
		while [[ ${COMP_WORDS[at]:-} == --?* && $at -lt $COMP_CWORD ]]; do ((at++)); done
		[[ ${COMP_WORDS[at]:-} == -- && $at -lt $COMP_CWORD ]] && ((at++))
		if ((at < COMP_CWORD)); then
			declare -F _command_offset >/dev/null && _command_offset $at || COMPREPLY=($(compgen -f -- "$word"))
		elif [[ $word == -* ]]; then
			COMPREPLY=($(compgen -W '--stats --profile --' -- "$word"))
		else
			COMPREPLY=($(compgen -c -- "$word"))
		fi
		return ;;
	stat) options='--format --watch' ;;
	top) options='--interval --sort --filter --once' ;;
	why) options='--interval --slabs' ;;
	profile) options='--format --value --rate --no-demangle -o' ;;
	map | report) options=-o ;;
	record) options='--interval --duration -o' ;;
	serve) options=--port ;;
	check) options=--count ;;
	core) options=--format ;;
	esac
	case $before in
	--format)
		local formats='table json csv prometheus'
		[[ $command == profile ]] && formats='text folded pprof'
		COMPREPLY=($(compgen -W "$formats" -- "$word"))
		return ;;
	--value) COMPREPLY=($(compgen -W 'live waiting pinned' -- "$word")); return ;;
	--sort)
		COMPREPLY=($(compgen -W 'size slabs objects live use free magazines waiting ready resident growth' -- "$word"))
		return ;;
	-o) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$word")); return ;;
	--watch | --interval | --duration | --slabs | --rate | --port | --count | --filter) return ;;
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "$options --help" -- "$word"))
		return
	fi
	case $command in
	report | diff | core) ;;
	*) # processes that publish where their memory is
		local map pids=
		for map in /proc/[0-9]*/maps; do
			grep -q qslab-segment "$map" 2>/dev/null && pids+=" ${map//[!0-9]/}"
		done
		COMPREPLY=($(compgen -W "$pids" -- "$word")) ;;
	esac
	case $command in
	report | diff | core | why | profile | map)
		compopt -o filenames 2>/dev/null
		COMPREPLY+=($(compgen -f -- "$word")) ;;
	esac
} &&
	complete -F _qslab qslab
