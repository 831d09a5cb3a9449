#define _GNU_SOURCE
#include "format.h"

#include "command.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct human human_bytes(uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	struct human human;
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(human.text, sizeof human.text, "%" PRIu64 " B", bytes);
		return human;
	}
	while (value >= 1023.95 && unit < 5) {
		value /= 1024;
		unit++;
	}
	snprintf(human.text, sizeof human.text, "%.1f %s", value, units[unit]);
	return human;
}

struct human human_change(int64_t bytes)
{
	struct human size = human_bytes(bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes), human;

	snprintf(human.text, sizeof human.text, "%s%.20s", bytes > 0 ? "+" : bytes < 0 ? "-" : "", size.text);
	return human;
}

struct human human_seconds(double seconds)
{
	struct human human;
	long whole = lround(seconds);

	if (seconds < .0005)
		snprintf(human.text, sizeof human.text, "0 s");
	else if (seconds < .9995)
		snprintf(human.text, sizeof human.text, "%.0f ms", seconds * 1000);
	else if (seconds < 9.95)
		snprintf(human.text, sizeof human.text, "%.1f s", seconds);
	else if (whole < 60)
		snprintf(human.text, sizeof human.text, "%ld s", whole);
	else if (whole < 3600)
		snprintf(human.text, sizeof human.text, "%ld min %ld s", whole / 60, whole % 60);
	else if (whole < 86400)
		snprintf(human.text, sizeof human.text, "%ld h %ld min", whole / 3600, whole / 60 % 60);
	else
		snprintf(human.text, sizeof human.text, "%ld d %ld h", whole / 86400, whole / 3600 % 24);
	return human;
}

struct human human_percent(uint64_t part, uint64_t whole)
{
	struct human human;

	snprintf(human.text, sizeof human.text, "%.1f %%", whole ? 100.0 * (double)part / (double)whole : 0.0);
	return human;
}

const char *plural(uint64_t count, const char *one, const char *many)
{
	return count == 1 ? one : many;
}

/* ---- the command line ------------------------------------------------------------------------------------------ */

static bool wrong(const char *command, const char *why, const char *what)
{
	char line[160];

	snprintf(line, sizeof line, "%s: %s", command, why);
	wrong_usage(line, what);
	return false;
}

static bool take_value(const char *command, const struct option *option, const char *value)
{
	char why[120], *end;

	if (!value) {
		snprintf(why, sizeof why, "%s needs a value", option->name);
		return wrong(command, why, "");
	}
	if (option->kind == OPTION_TEXT) {
		*(const char **)option->to = value;
		return true;
	}
	if (option->kind == OPTION_NUMBER) {
		if (parse_number(value, option->least, option->most, option->to))
			return true;
		snprintf(why, sizeof why, "%s needs a number from %ld to %ld, not ", option->name, option->least, option->most);
		return wrong(command, why, value);
	}
	double seconds = strtod(value, &end);
	if (*value && !*end && seconds >= 0.01 && seconds <= 1e8) {
		*(double *)option->to = seconds;
		return true;
	}
	snprintf(why, sizeof why, "%s needs seconds, 0.01 or more, not ", option->name);
	return wrong(command, why, value);
}

/* The option that `argument` names; *value is what follows a '=', or NULL. */
static const struct option *find(const char *argument, const struct option *options, size_t count, const char **value)
{
	size_t length = strcspn(argument, "=");

	*value = argument[length] ? argument + length + 1 : NULL;
	for (size_t i = 0; i < count; i++)
		if (strlen(options[i].name) == length && !memcmp(options[i].name, argument, length))
			return &options[i];
	return NULL;
}

bool parse_arguments(const char *command, int count, char **arguments, const struct option *options,
                     size_t option_count, struct words *words, size_t least, size_t most, const char *what)
{
	bool only_words = false;

	words->count = 0;
	for (int i = 0; i < count; i++) {
		const char *argument = arguments[i], *value;
		if (only_words || argument[0] != '-' || !argument[1]) {
			if (words->count == most)
				return wrong(command, "superfluous argument ", argument);
			words->list[words->count++] = argument;
			continue;
		}
		if (!strcmp(argument, "--")) {
			only_words = true;
			continue;
		}
		const struct option *option = find(argument, options, option_count, &value);
		if (!option)
			return wrong(command, "unknown option ", argument);
		if (option->kind == OPTION_SWITCH) {
			if (value)
				return wrong(command, "takes no value: ", argument);
			*(bool *)option->to = true;
			continue;
		}
		if (!value)
			value = i + 1 < count ? arguments[++i] : NULL;
		if (!take_value(command, option, value))
			return false;
	}
	return words->count >= least || wrong(command, what, "");
}
