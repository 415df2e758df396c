/* The floor: answers every SIZE_IN bytes with SIZE_OUT bytes, as plainly as a process can. Usage: echo SOCKET SIZE_IN SIZE_OUT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char in[1 << 20], out[1 << 20];

static void die(const char *what) {
	fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
	exit(1);
}

int main(int argc, char **argv) {
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	if (argc != 4 || strlen(argv[1]) >= sizeof to.sun_path) {
		fprintf(stderr, "usage: echo SOCKET SIZE_IN SIZE_OUT\n");
		return 2;
	}
	strcpy(to.sun_path, argv[1]);
	size_t need = strtoul(argv[2], NULL, 10), answer = strtoul(argv[3], NULL, 10);
	if (need == 0 || need > sizeof in || answer == 0 || answer > sizeof out) {
		fprintf(stderr, "echo: sizes are 1 to %zu\n", sizeof in);
		return 2;
	}
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to) < 0)
		die("connect");
	for (;;) {
		for (size_t have = 0; have < need;) {
			ssize_t n = read(s, in + have, need - have);
			if (n == 0)
				return 0;
			if (n < 0)
				die("read");
			have += (size_t)n;
		}
		for (size_t sent = 0; sent < answer;) {
			ssize_t n = write(s, out + sent, answer - sent);
			if (n < 0)
				die("write");
			sent += (size_t)n;
		}
	}
}
