// Checks what the delegate is told.
package flannel

import (
	"encoding/json"
	"testing"
)

func TestDelegate(t *testing.T) {
	c, err := load([]byte(`{"cniVersion":"1.0.0","name":"cbr0","type":"flannel","delegate":{"hairpinMode":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	d, err := delegate(c, map[string]string{"FLANNEL_NETWORK": "10.42.0.0/16", "FLANNEL_SUBNET": "10.42.3.1/24", "FLANNEL_MTU": "1450", "FLANNEL_IPMASQ": "true"})
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(d)
	const want = `{"cniVersion":"1.0.0","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.42.3.0/24"}]],` +
		`"routes":[{"dst":"10.42.0.0/16"}],"type":"host-local"},"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	if _, err := delegate(c, map[string]string{"FLANNEL_MTU": "1450"}); err == nil {
		t.Error("no subnet is accepted")
	}
}
