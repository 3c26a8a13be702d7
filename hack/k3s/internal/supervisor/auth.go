// Who may use the API: tokens by basic authentication, and whom the apiserver knows.
package supervisor

import (
	"crypto/subtle"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes/scheme"
)

// bootstrappers is the group of Kubernetes' bootstrap tokens.
const bootstrappers = "system:bootstrappers"

// gate lets requests through that come with a role.
type gate struct{ authenticator.Request }

// authentication asks the file of tokens first, as k3s does: who has a token and a certificate
// comes as the token's user.
func authentication(passwd string, known authenticator.Request) gate {
	return gate{union.New(authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		name, password, ok := r.BasicAuth()
		if !ok {
			return nil, false, nil
		}
		users, err := readPasswd(passwd)
		if err != nil {
			return nil, false, err
		}
		u, ok := users[name]
		if !ok || subtle.ConstantTimeCompare([]byte(u.password), []byte(password)) != 1 {
			return nil, false, errors.New("invalid username/password combination")
		}
		return &authenticator.Response{User: &u.DefaultInfo}, true, nil
	}), known)}
}

// account is a line of the file of tokens.
type account struct {
	user.DefaultInfo
	password string
}

// readPasswd reads lines of: password, user, uid, groups.
func readPasswd(file string) (map[string]*account, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	records, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	users := map[string]*account{}
	for _, rec := range records {
		if len(rec) < 4 || rec[0] == "" {
			return nil, fmt.Errorf("password file '%s' must have at least 4 columns (password, user name, user uid, groups), found %d", file, len(rec))
		}
		users[rec[1]] = &account{user.DefaultInfo{Name: rec[1], UID: rec[2], Groups: strings.Split(rec[3], ",")}, rec[0]}
	}
	return users, nil
}

// require serves who has one of the roles, and tells the handler who it is.
func (g gate) require(next http.HandlerFunc, roles ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := g.AuthenticateRequest(r)
		if err != nil {
			logrus.Errorf("Failed to authenticate request from %s: %v", r.RemoteAddr, err)
			sendError(w, r, http.StatusUnauthorized, errors.New("not authorized"))
			return
		}
		if !ok || !slices.ContainsFunc(who.User.GetGroups(), func(g string) bool { return slices.Contains(roles, g) }) {
			sendError(w, r, http.StatusForbidden, errors.New("forbidden"))
			return
		}
		next(w, r.WithContext(request.WithUser(r.Context(), who.User)))
	}
}

// sendError answers as Kubernetes does.
func sendError(w http.ResponseWriter, r *http.Request, code int, err error) {
	logrus.Errorf("Sending HTTP %d response to %s: %v", code, r.RemoteAddr, err)
	status := apierrors.NewGenericServerResponse(code, r.Method, schema.GroupResource{}, "", "", 0, true)
	switch code {
	case http.StatusBadRequest:
		status = apierrors.NewBadRequest(err.Error())
	case http.StatusUnauthorized:
		status = apierrors.NewUnauthorized(err.Error())
	case http.StatusForbidden:
		status.ErrStatus.Reason = metav1.StatusReasonForbidden
	case http.StatusInternalServerError:
		status = apierrors.NewInternalError(err)
	}
	status.ErrStatus.Message = err.Error()
	responsewriters.ErrorNegotiated(status, scheme.Codecs.WithoutConversion(), schema.GroupVersion{}, w, r)
}
