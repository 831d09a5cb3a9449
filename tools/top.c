/* qslab top: where the memory of a process is, again and again. */
#define _GNU_SOURCE
#include "command.h"
#include "format.h"
#include "text.h"
#include "top_view.h"

#include <curses.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_LEAST 0.1
#define INTERVAL_MOST 3600.0

static const char *const help_text[] = {
	"qslab top: a row for each object size, and for each cache with slabs of its own",
	"",
	"  s size      n slabs     o objects   l live       u use      f free",
	"  m magazines w waiting   y ready     r resident   g growth   sort by it; again, or R: the other way round",
	"",
	"  /           show only some sizes: 64, 64-512, >1024, <100, large; nothing: all",
	"  p, space    pause, go on                  + -       look less, more often",
	"  arrows, page up, page down, home          scroll",
	"  h, ?        this text                     q         quit",
	"",
	"LIVE GROWTH: bytes a second. FREE: free in slabs. MAGAZINES: free, kept by a thread for itself. WAITING: for a grace period.",
	"READY: free after one, to be used by the thread that deferred it.",
};

struct top {
	struct reader *reader;
	struct snapshot *snapshot;
	struct totals now, before;
	bool has_before;
	enum top_sort sort;
	bool reverse, paused, help;
	double interval;
	struct top_filter filter;
	char filter_text[32];
	char typed[32];
	bool typing, wrong_filter;
	size_t scroll, last_scroll;
};

static bool look(struct top *top, struct failure *why)
{
	struct snapshot *snapshot = reader_snapshot(top->reader, SNAPSHOT_MEMORY, why);

	if (!snapshot)
		return false;
	totals_free(&top->before);
	top->before = top->now;
	top->has_before = top->snapshot != NULL;
	snapshot_free(top->snapshot);
	top->snapshot = snapshot;
	totals_take(&top->now, snapshot);
	return true;
}

static void make_view(const struct top *top, struct top_view *view)
{
	top_view_make(view, target_name(top->reader, top->snapshot).text, top->snapshot, &top->now,
	              top->has_before ? &top->before : NULL, top->sort, top->reverse, &top->filter);
	size_t used = strlen(view->head[3]);
	snprintf(view->head[3] + used, sizeof view->head[3] - used, "%s; %s%s; every %s%s", top->reverse ? ", reversed" : "",
	         *top->filter_text ? "only sizes " : "all sizes", top->filter_text, human_seconds(top->interval).text,
	         top->paused ? "; PAUSED" : "");
}

/* ---- one screen on stdout ------------------------------------------------------------------------------------------ */

static int print_once(struct top *top)
{
	struct top_view view;
	char line[TOP_WIDTH + 1];

	make_view(top, &view);
	for (unsigned i = 0; i < TOP_HEAD; i++)
		puts(view.head[i]);
	printf("\n%s\n", view.columns);
	for (size_t i = 0; i < view.row_count; i++) {
		top_row_text(&view.rows[i], line);
		puts(line);
	}
	top_view_free(&view);
	return finish_output();
}

/* ---- the screen ------------------------------------------------------------------------------------------------------ */

/* A line cut to the screen's width; `attributes` for the whole width. */
static void put_line(int at, const char *text, attr_t attributes)
{
	if (at >= LINES)
		return;
	attrset(attributes);
	mvaddnstr(at, 0, text, (int)text_fitting(text, COLS));
	if (attributes & A_REVERSE)
		for (int x = (int)strlen(text); x < COLS; x++)
			addch(' ');
	attrset(A_NORMAL);
}

static void draw_help(void)
{
	for (size_t i = 0; i < sizeof help_text / sizeof *help_text; i++)
		put_line((int)i, help_text[i], i ? A_NORMAL : A_BOLD);
	put_line((int)(sizeof help_text / sizeof *help_text) + 1, "any key goes back", A_DIM);
}

static void draw(struct top *top)
{
	struct top_view view;
	char line[TOP_WIDTH + 1];
	int first = TOP_HEAD + 2, room = LINES - first - 1;

	erase();
	if (top->help) {
		draw_help();
		refresh();
		return;
	}
	make_view(top, &view);
	for (int i = 0; i < TOP_HEAD; i++)
		put_line(i, view.head[i], i ? A_NORMAL : A_BOLD);
	put_line(TOP_HEAD + 1, view.columns, A_REVERSE);
	top->last_scroll = room > 0 && view.row_count > (size_t)room ? view.row_count - (size_t)room : 0;
	if (top->scroll > top->last_scroll)
		top->scroll = top->last_scroll;
	for (int i = 0; i < room && top->scroll + (size_t)i < view.row_count; i++) {
		const struct top_row *row = &view.rows[top->scroll + (size_t)i];
		bool sparse = row->row.slabs > 4 && row->row.count[LIVE] * 4 < row->row.objects;
		top_row_text(row, line);
		put_line(first + i, line, sparse && has_colors() ? COLOR_PAIR(1) : A_NORMAL);
	}
	if (top->typing) {
		snprintf(line, sizeof line, "show sizes: %s", top->typed);
		put_line(LINES - 1, line, A_BOLD);
	} else {
		put_line(LINES - 1, top->wrong_filter ? "not a size: 64, 64-512, >1024, <100, large; nothing for all"
		                                      : "h help  q quit  / sizes  p pause  s n o l u f m w y r g sort",
		         top->wrong_filter ? A_BOLD : A_DIM);
	}
	refresh();
	top_view_free(&view);
}

static void type(struct top *top, int key)
{
	size_t length = strlen(top->typed);

	if (key == '\n' || key == '\r' || key == KEY_ENTER) {
		top->typing = false;
		top->wrong_filter = !top_filter_parse(&top->filter, top->typed);
		if (!top->wrong_filter)
			snprintf(top->filter_text, sizeof top->filter_text, "%s", top->typed);
	} else if (key == 27) {
		top->typing = false;
	} else if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && length) {
		top->typed[length - 1] = '\0';
	} else if (key > ' ' && key < 127 && length + 1 < sizeof top->typed) {
		top->typed[length] = (char)key;
		top->typed[length + 1] = '\0';
	}
}

static void scroll_by(struct top *top, long lines)
{
	long to = (long)top->scroll + lines;
	top->scroll = to < 0 ? 0 : (size_t)to > top->last_scroll ? top->last_scroll : (size_t)to;
}

static void choose_sort(struct top *top, int key)
{
	for (unsigned i = 0; i < TOP_SORTS; i++)
		if (top_sorts[i].key == key) {
			top->reverse = top->sort == i && !top->reverse;
			top->sort = (enum top_sort)i;
		}
}

/* False: quit. */
static bool press(struct top *top, int key)
{
	top->wrong_filter = false;
	if (top->typing) {
		type(top, key);
		return true;
	}
	if (top->help) {
		top->help = false;
		return key != 'q';
	}
	switch (key) {
	case 'q': return false;
	case 'h': case '?': case KEY_F(1): top->help = true; break;
	case 'p': case ' ': top->paused = !top->paused; break;
	case 'L' & 0x1f: redrawwin(stdscr); break;
	case 'R': top->reverse = !top->reverse; break;
	case '+': top->interval = top->interval * 2 < INTERVAL_MOST ? top->interval * 2 : INTERVAL_MOST; break;
	case '-': top->interval = top->interval / 2 > INTERVAL_LEAST ? top->interval / 2 : INTERVAL_LEAST; break;
	case '/': top->typing = true; top->typed[0] = '\0'; break;
	case KEY_DOWN: scroll_by(top, 1); break;
	case KEY_UP: scroll_by(top, -1); break;
	case KEY_NPAGE: scroll_by(top, LINES / 2); break;
	case KEY_PPAGE: scroll_by(top, -LINES / 2); break;
	case KEY_HOME: top->scroll = 0; break;
	default: choose_sort(top, key);
	}
	return true;
}

static double seconds_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Until a key says so, or the process ends: then false. */
static bool watch(struct top *top, struct failure *why)
{
	double last = seconds_now();

	for (;;) {
		draw(top);
		double left = last + top->interval - seconds_now();
		timeout(top->paused ? -1 : left > 0 ? (int)(left * 1000) + 1 : 0);
		int key = getch();
		if (key != ERR) {
			if (!press(top, key))
				return true;
			continue;
		}
		if (top->paused && !isatty(STDIN_FILENO))
			return true; /* no key can come any more */
		if (!top->paused && seconds_now() >= last + top->interval) {
			if (!look(top, why))
				return false;
			last = seconds_now();
		}
	}
}

static int run_screen(struct top *top)
{
	struct failure why;

	setlocale(LC_ALL, "");
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return failed("top: stdin and stdout must be a terminal; --once prints one screen");
	SCREEN *screen = newterm(NULL, stdout, stdin);
	if (!screen)
		return failed("top: this terminal is not known (TERM); --once prints one screen");
	set_term(screen);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	if (has_colors()) {
		start_color();
		use_default_colors();
		init_pair(1, COLOR_RED, -1);
	}
	bool well = watch(top, &why);
	endwin();
	delscreen(screen);
	return well ? 0 : failed(why.text);
}

int command_top(int count, char **arguments)
{
	struct top top = {.interval = 2};
	const char *sort = "resident", *filter = "";
	bool once = false;
	const struct option options[] = {
		{"--once", OPTION_SWITCH, &once, 0, 0},
		{"--interval", OPTION_SECONDS, &top.interval, 0, 0},
		{"--sort", OPTION_TEXT, &sort, 0, 0},
		{"--filter", OPTION_TEXT, &filter, 0, 0},
	};
	struct words words;
	struct failure why;
	int status = 2;

	if (!parse_arguments("top", count, arguments, options, 4, &words, 1, 1, "no process given"))
		return 2;
	top.sort = 0;
	while (top.sort < TOP_SORTS && strcmp(top_sorts[top.sort].name, sort))
		top.sort++;
	if (top.sort == TOP_SORTS)
		return wrong_usage("top: no such column to sort by: ", sort);
	if (strlen(filter) >= sizeof top.filter_text || !top_filter_parse(&top.filter, filter))
		return wrong_usage("top: --filter is a size, as 64, 64-512, >1024, <100 or large, not ", filter);
	snprintf(top.filter_text, sizeof top.filter_text, "%s", filter);
	if (!(top.reader = open_target(words.list[0], &status)))
		return status;
	status = !look(&top, &why) ? failed(why.text) : once ? print_once(&top) : run_screen(&top);
	totals_free(&top.now);
	totals_free(&top.before);
	snapshot_free(top.snapshot);
	reader_close(top.reader);
	return status;
}
