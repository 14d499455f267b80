/* A program in C, or C++, that records decisions through `tally recorder serve`.
 *
 *   cc -O2 -o recorder_client recorder_client.c
 *   ./recorder_client /run/tallystick/recorder.sock
 *
 * The service holds the key and the journal as another user; this program only writes lines of JSON
 * and reads one answer for each (docs/recorder.md). It ends with 0 when both decisions are recorded.
 */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX 4096
/* Longer than the service waits for a signature (wait_s in tallystick.json). */
#define ANSWER_S_MAX 15

static int connect_to(const char *path) {
  struct sockaddr_un to;
  struct timeval patience = {ANSWER_S_MAX, 0};
  int link;

  memset(&to, 0, sizeof to);
  to.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof to.sun_path)
    return -1;
  strcpy(to.sun_path, path);
  link = socket(AF_UNIX, SOCK_STREAM, 0);
  if (link < 0)
    return -1;
  if (setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
      connect(link, (const struct sockaddr *)&to, sizeof to) < 0) {
    close(link);
    return -1;
  }
  return link;
}

/* Sends a whole line; a service that went away is an error here and no SIGPIPE. */
static int send_line(int link, const char *line) {
  size_t left = strlen(line);

  while (left > 0) {
    ssize_t sent = send(link, line, left, MSG_NOSIGNAL);
    if (sent <= 0)
      return -1;
    line += sent;
    left -= (size_t)sent;
  }
  return 0;
}

/* Reads one answer, without its newline; 0 when it says that the record is in the journal. */
static int read_answer(int link, char *answer, size_t size) {
  size_t at = 0;

  while (at + 1 < size && recv(link, answer + at, 1, 0) == 1) {
    if (answer[at] == '\n') {
      answer[at] = '\0';
      return strncmp(answer, "{\"ok\"", 5) == 0 ? 0 : 1;
    }
    at++;
  }
  answer[at] = '\0';
  return -1;
}

int main(int argc, char **argv) {
  /* Numbers are exact: 0.1 is recorded as 0.1, and never as the nearest binary fraction. */
  static const char *const lines[] = {
      "{\"decision\": {\"model\": \"grasp-net@3f2a91\", \"inputs\": {\"distance_m\": 0.1},"
      " \"constraints\": {\"speed_m_s\": [0.4, \"<=\", 0.5, \"m/s\"]}, \"output\": \"grip\"}}\n",
      /* Before the robot does what cannot be undone: answered when the signature is on disk. */
      "{\"decision\": {\"model\": \"grasp-net@3f2a91\", \"output\": \"lift\", \"urgent\": true}}\n",
  };
  char answer[ANSWER_BYTES_MAX];
  size_t i;
  int failed = 0;
  int link = connect_to(argc > 1 ? argv[1] : "/run/tallystick/recorder.sock");

  if (link < 0) {
    perror("recorder");
    return 1;
  }
  for (i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    /* Also where it could not be sent: who may not record is told so, and left. */
    int unsent = send_line(link, lines[i]);
    int refused = read_answer(link, answer, sizeof answer);

    puts(answer);
    if (unsent != 0 || refused != 0)
      failed = 1;
  }
  close(link);
  return failed;
}
