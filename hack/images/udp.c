// udp listen PORT: answers every datagram with "datagram". udp ask ADDRESS PORT: sends one and prints the answer, or
// fails after five seconds. For images without a UDP client.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

static int fail(const char *what) {
  perror(what);
  return 1;
}

int main(int argc, char **argv) {
  int listening = argc == 3 && !strcmp(argv[1], "listen");
  if (!listening && !(argc == 4 && !strcmp(argv[1], "ask"))) {
    fputs("usage: udp listen PORT | udp ask ADDRESS PORT\n", stderr);
    return 2;
  }
  struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[argc - 1]))};
  struct timeval patience = {.tv_sec = 5};
  char text[64];
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0)
    return fail("socket");
  if (listening) {
    if (bind(fd, (struct sockaddr *)&peer, sizeof peer))
      return fail("bind");
    for (;;) {
      socklen_t size = sizeof peer;
      if (recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&peer, &size) >= 0)
        sendto(fd, "datagram", 8, 0, (struct sockaddr *)&peer, size);
    }
  }
  if (inet_pton(AF_INET, argv[2], &peer.sin_addr) != 1)
    return fail("address");
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (sendto(fd, "?", 1, 0, (struct sockaddr *)&peer, sizeof peer) != 1)
    return fail("sendto");
  ssize_t length = recv(fd, text, sizeof text, 0);
  if (length < 0)
    return fail("recv");
  printf("%.*s\n", (int)length, text);
  return 0;
}
